mkdir -p t/in && echo a > t/a && tar -C t -cf stdin . && rm -r t
