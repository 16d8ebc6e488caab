printf 'FROM busybox\n' > stdin
