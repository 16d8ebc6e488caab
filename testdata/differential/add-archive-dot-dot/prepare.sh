set -eu
python3 - <<'E'
import tarfile,io
t=tarfile.open('t.tar','w'); i=tarfile.TarInfo('../up'); i.size=1; i.mtime=1300000000; t.addfile(i,io.BytesIO(b'x')); t.close()
E
