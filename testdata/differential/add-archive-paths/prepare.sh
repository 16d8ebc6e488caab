set -eu
python3 - <<'E'
import tarfile,io
def add(t,name,data=b'x',**k):
    i=tarfile.TarInfo(name); i.size=len(data); i.mtime=1300000000
    for a,b in k.items(): setattr(i,a,b)
    t.addfile(i,io.BytesIO(data))
t=tarfile.open('t.tar','w'); add(t,'way/f'); add(t,'name',b'new'); add(t,'deep/er/f'); add(t,'dup',b'1'); add(t,'dup',b'22')
add(t,'turn'); i=tarfile.TarInfo('turn'); i.type=tarfile.DIRTYPE; i.mode=0o711; i.mtime=1300000001; t.addfile(i); add(t,'turn/in'); t.close()
t=tarfile.open('abs.tar','w'); add(t,'/etc/f'); add(t,'a/../../b'); add(t,'./dot/./f'); t.close()
E
