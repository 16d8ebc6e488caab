mkdir -p d/lib/x && echo x > d/lib/x/f
