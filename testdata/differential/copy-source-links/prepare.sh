set -eu
ln -s a to-a; ln -s tree to-tree; ln -s tree through
mkdir tree-with-links; ln -s nowhere tree-with-links/dangling; ln -s ../a tree-with-links/up; ln -s /etc/passwd tree-with-links/absolute
