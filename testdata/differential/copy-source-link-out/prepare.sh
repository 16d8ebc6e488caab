set -eu
ln -s ../../../etc/hostname out
