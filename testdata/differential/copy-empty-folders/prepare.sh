set -eu
mkdir -p empty nested/empty; chmod 2775 nested/empty
