mkdir t && cp -p a t/ && mkdir t/d && echo d > t/d/f && chmod 600 t/d/f && ln -s a t/l && ln t/a t/h && echo a > t/.dockerignore
printf "FROM busybox\nCOPY d /c/\n" > t/d/Other && find t -exec touch -h -d 2010-10-10 {} + && tar -C t --owner=7 --group=8 --numeric-owner -cf t.tar . && rm -r t && mv t.tar t
