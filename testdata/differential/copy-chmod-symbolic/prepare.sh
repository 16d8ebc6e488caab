set -eu
chmod 640 tree/one; chmod 755 tree/sub/two; chmod 2750 tree/sub; chmod 600 a; chmod 4755 b
