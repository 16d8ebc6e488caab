mkdir -p t/in && printf 'FROM busybox\nCOPY a /a\n' > t/in/X && echo a > t/a && find t -exec touch -d 2010-10-10 {} + && tar -C t -cf stdin . && rm -r t
