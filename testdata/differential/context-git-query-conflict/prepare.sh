export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000"
git init -q -b main w && cd w
mkdir -p sub/in && echo one > a && echo s > sub/s && echo in > sub/in/f
printf 'FROM busybox\nCOPY a /c/\n' > Dockerfile
printf 'FROM busybox\nCOPY s /s\n' > sub/Dockerfile
printf 'FROM busybox\nCOPY a /other\n' > Other
git add -A && git commit -qm one && git tag v1
git checkout -q -b dev && echo dev > a && git commit -qam dev && git checkout -q -b feature/x && echo feat > a && git commit -qam feat && git checkout -q main
echo two > a && git commit -qam two && git tag -a -m annotated v2
cd .. && git clone -q --bare w r.git && git -C r.git config uploadpack.allowAnySHA1InWant true && git -C r.git update-server-info
