from registry.access.redhat.com/ubi9/ubi-minimal:9.5
maintainer Somebody <somebody@example.org>

# packages
run microdnf install -y git && microdnf clean all
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
