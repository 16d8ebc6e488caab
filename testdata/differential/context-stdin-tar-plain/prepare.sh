mkdir t && cp -p a t/ && mkdir t/d && echo d > t/d/f && chmod 600 t/d/f && ln -s a t/l && ln t/a t/h && echo a > t/.dockerignore
printf "FROM busybox\nCOPY . /c/\nADD d /d/\nRUN stat -c %%u:%%g /c/a > /o\n" > t/Dockerfile && find t -exec touch -h -d 2010-10-10 {} + && tar -C t --owner=7 --group=8 --numeric-owner -cf stdin . && rm -r t
