set -eu
echo plain | gzip -n > plain.gz; tar -cf zero.tar -T /dev/null; echo x > x; tar -cf tree/in.tar x; tar -cf short.tar x; truncate -s 300 short.tar; rm x
