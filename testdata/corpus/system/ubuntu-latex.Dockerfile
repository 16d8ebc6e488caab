from ubuntu:24.04
maintainer Somebody <somebody@example.org>

# packages
run apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq texlive
run echo "root:root" | chpasswd || true ; \
    mkdir -p /var/run/latex
env  NOTVISIBLE "in users profile"
env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
add  files.tar.gz  /opt/latex/
copy ["my file.conf", "/etc/latex/my file.conf"]
onbuild copy . /usr/src/app
onbuild run make -C /usr/src/app
expose 22 2222/tcp
workdir /root
entrypoint /usr/sbin/latex -D
