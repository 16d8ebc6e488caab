mkdir -p t/a/b/c && echo x > t/a/b/c/f && echo y > t/a/y && touch -h -d "2010-10-10 10:10:10" t/a/b/c/f t/a/y && tar -C t --owner=3 --group=4 -cf t.tar a/b/c/f a/y && rm -r t
