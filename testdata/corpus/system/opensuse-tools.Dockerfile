from opensuse/leap:15.6
maintainer Somebody <somebody@example.org>

# packages
run zypper --non-interactive install git && zypper clean -a
run echo "root:root" | chpasswd || true ; \
    mkdir -p /var/run/tools
env  NOTVISIBLE "in users profile"
env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
add  files.tar.gz  /opt/tools/
copy ["my file.conf", "/etc/tools/my file.conf"]
onbuild copy . /usr/src/app
onbuild run make -C /usr/src/app
expose 22 2222/tcp
workdir /root
entrypoint /usr/sbin/tools -D
