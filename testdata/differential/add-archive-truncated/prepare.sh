head -c 100000 /dev/urandom > x && tar -czf whole x && head -c 50000 whole > t.tar.gz && rm x whole
