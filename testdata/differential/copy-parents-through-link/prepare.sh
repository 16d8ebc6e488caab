set -eu
ln -s tree/sub through
