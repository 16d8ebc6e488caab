ln -s rules .dockerignore
