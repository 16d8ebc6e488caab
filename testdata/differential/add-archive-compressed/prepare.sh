set -eu
mkdir -p t/dir/sub; echo f > t/dir/f; echo s > t/dir/sub/s; ln -s f t/dir/l; ln t/dir/f t/dir/hard; chmod 4755 t/dir/sub/s; chmod 2750 t/dir/sub
chown 11:22 t/dir t/dir/f; chown -h 33:44 t/dir/l; touch -d '2011-11-11 11:11:11Z' t/dir/f t/dir/sub t/dir
tar -C t -cf t.tar dir; gzip -nk t.tar; mv t.tar.gz t.gz; bzip2 -k t.tar; mv t.tar.bz2 t.bz2; zstd -q t.tar -o t.zst || python3 -c "import shutil;shutil.copy('t.gz','t.zst')"
head -c 2000 t.tar | gzip -n > members.gz; tail -c +2001 t.tar | gzip -n >> members.gz; rm -r t t.tar
