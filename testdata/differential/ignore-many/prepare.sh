# Each line is an ignore file; each gets a folder, which is a named context, with the same files.
while IFS= read -r rules; do
  count=$((${count:-0} + 1))
  mkdir "c$count" && cd "c$count" && mkdir -p d/e/f x/y src/v .dir
  for file in a b.txt d/a d/b.txt d/e/a d/e/c.go d/e/f/c.go x/y/z x/y/w x/q .hid .dir/h foo foo2 src/main.go src/main_test.go \
    src/v/main.go '!bang' '#hash' 'sp ace'; do echo "$file" > "$file"; done
  printf '%b' "$rules" > .dockerignore
  cd ..
done <<'RULES'
**\n!**/*.go\n
*\n!d\n
*\n!d/e\nd/e/f\n
d/*\n!d/e\n
/a\n./b.txt\nd//e/../b.txt\n
**/a\n
**/e\n!**/c.go\n
d/**\n!d/e/**/c.go\n
*.txt\nfoo?\n.??*\n
[ab]*\n
[^a-d]*\n
x/*/z\n
x/**/w\n
\\!bang\n\\#hash\nsp ace\n
  a  \n\t\n #hash\n# comment\n#hash\n
a/\nd/\n
.\n
..\n../a\n
/\n
*/*\n
*/*/*\n
**/\n
!a\n
*\n!a\n!b.txt\na\n
**/*_test.go\n
src\n!src/v\n
D\nA\n
.*\n
*\n!.dockerignore\n!Dockerfile\n
Dockerfile\n.dockerignore\n
\0357\0273\0277a\n
a\r\nd\r\n
foo*\n!foo2
**/**/c.go\n
d/e/f/..\n
/**\n!/src\n
! a\n
*\n! src/v \n
{a,b.txt}\n
d/[a-b]\n
~\n
x/y/\n!x/y/w\nx/y/w\n!x/y/z\n
*\n!x/y\n!x/q\n
RULES
