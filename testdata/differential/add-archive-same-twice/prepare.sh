mkdir -p t/x && echo 1 > t/x/f && ln -s f t/x/l && ln t/x/f t/x/h && find t -exec touch -h -d "2010-10-10 10:10:10" {} + && tar -C t --owner=3 --group=4 -cf t.tar . && rm -r t
