set -eu
ln linked/x linked/y
mkdir linked/s
ln linked/x linked/s/z
