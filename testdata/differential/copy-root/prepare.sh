mkdir -p d/etc d/bin d/tmp d/new && chmod 700 d/etc d/new && echo x > d/etc/x && echo y > d/tmp/y && ln -s etc d/lnk
