chmod 700 x x/y; touch -d 2005-05-05 x/y x
