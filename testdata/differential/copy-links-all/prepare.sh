mkdir -p d/e && echo f > d/f && echo g > d/g && ln -s d l1 && ln -s /d abs && ln -s l1/f c2 && ln -s /c2 chain && ln -s ../../d/e/../ d/e/up && ln -s d/e/up up
