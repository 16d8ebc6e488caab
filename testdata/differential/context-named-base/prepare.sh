chmod 700 lib/sub
