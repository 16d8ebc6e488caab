set -eu
chmod 711 tree; chmod 750 tree/sub; chmod 1777 tree/sub/deep; chmod 640 tree/one
