printf 'FROM busybox\nCOPY . /o/\n' > stdin
