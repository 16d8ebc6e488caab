printf "FROM busybox\nCOPY . /c/\nRUN ls /c > /o; rm -r /c\n" > D
