
mkdir -p w/d sub && echo 1 > w/d/one && tar -cf one.tar -C w . && echo 2 > w/d/two && tar -czf two.tar.gz -C w d && cp one.tar sub/inner.tar && tar -cf three.tar -C w d/two && echo plain > plain.txt && rm -r w
