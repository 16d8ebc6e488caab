set -eu
chmod 700 tree; chmod 2755 tree/sub
