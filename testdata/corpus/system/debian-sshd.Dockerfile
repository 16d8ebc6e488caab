from debian:12
maintainer Somebody <somebody@example.org>

# packages
run apt-get update && apt-get install -y openssh && rm -rf /var/lib/apt/lists/*
run echo "root:root" | chpasswd || true ; \
    mkdir -p /var/run/sshd
env  NOTVISIBLE "in users profile"
env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
add  files.tar.gz  /opt/sshd/
copy ["my file.conf", "/etc/sshd/my file.conf"]
onbuild copy . /usr/src/app
onbuild run make -C /usr/src/app
expose 22 2222/tcp
workdir /root
entrypoint /usr/sbin/sshd -D
