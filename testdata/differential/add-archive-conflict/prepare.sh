set -eu
mkdir t; echo 1 > t/one; mkdir -p t/two t/three t/four; echo 2 > t/two/in; chmod 700 t/four; echo 3 > t/three/in; tar -C t -cf t.tar one two three four; rm -r t
