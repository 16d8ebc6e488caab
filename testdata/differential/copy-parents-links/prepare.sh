set -eu
ln -s sub tree/link; ln -s one tree/sub/l
