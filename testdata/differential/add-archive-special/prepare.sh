set -eu
python3 - <<'E'
import tarfile,io
t=tarfile.open('t.tar','w',format=tarfile.PAX_FORMAT,pax_headers={'comment':'global'})
def e(name,type,**k):
    i=tarfile.TarInfo(name); i.type=type; i.mtime=1300000000
    for a,b in k.items(): setattr(i,a,b)
    t.addfile(i)
e('fifo',tarfile.FIFOTYPE,mode=0o622); e('null',tarfile.CHRTYPE,devmajor=1,devminor=3,mode=0o666); e('blk',tarfile.BLKTYPE,devmajor=7,devminor=0,mode=0o660)
i=tarfile.TarInfo('cap'); i.mode=0o755; i.size=1; i.mtime=1300000000; i.pax_headers={'SCHILY.xattr.security.capability':bytes.fromhex('0100000200040000000000000000000000000000').decode('latin1'),'SCHILY.xattr.user.note':'n'}; t.addfile(i,io.BytesIO(b'c'))
e('big',tarfile.REGTYPE,uid=3000000,gid=4000000); e('old',tarfile.REGTYPE,pax_headers={'mtime':'12.75'}); e('s'*150,tarfile.SYMTYPE,linkname='t'*150)
t.close()
E
