set -eu
mkdir l; echo x > l/f; tar -cf t.tar l/f; rm -r l
