mkdir t && echo x > t/x && touch -d 2010-10-10 t/x t && tar -C t --owner=3 --group=4 -czf t.tar.gz . && rm -r t; echo sp > "sp ace+plus"
