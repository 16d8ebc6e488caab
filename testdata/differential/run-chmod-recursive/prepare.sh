mkdir -p d/e && echo x > d/x && echo y > d/e/y && ln -s x d/l
