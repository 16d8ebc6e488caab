ssh-keygen -q -t ed25519 -N "" -C x -f key
