mkdir -p t/d && echo x > t/d/x && touch -h -d "2010-10-10 10:10:10" t/d/x t/d t && tar -C t --owner=3 --group=4 -cf t.tar d && rm -r t
