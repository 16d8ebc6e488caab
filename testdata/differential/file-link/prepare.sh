ln -s sub/Real link
