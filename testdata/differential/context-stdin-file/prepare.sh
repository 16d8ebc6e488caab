printf "FROM busybox\nCOPY a Dockerfile /\n" > stdin
