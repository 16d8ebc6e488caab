set -eu
for i in suid sgid sticky; do echo $i > $i; done; chmod 4755 suid; chmod 2755 sgid; chmod 1644 sticky; mkdir sgiddir stickydir; chmod 2775 sgiddir; chmod 1777 stickydir
