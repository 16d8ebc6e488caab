printf "FROM busybox\nCOPY a /\n" > stdin
