set -eu
ln -s one tree/link; chmod 600 a
