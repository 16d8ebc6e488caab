FROM debian:bookworm-slim

# the same ids on every host
RUN set -eux; \
	groupadd -r nginx --gid=101; \
	useradd -r -g nginx --uid=101 --home-dir=/var/lib/nginx --shell=/bin/bash nginx; \
	mkdir -p /var/lib/nginx; \
	chown -R nginx:nginx /var/lib/nginx

# a tool to become another user
ENV GOSU_VERSION 1.17
RUN set -eux; \
	savedAptMark="$(apt-mark showmanual)"; \
	apt-get update; \
	apt-get install -y --no-install-recommends ca-certificates gnupg wget; \
	rm -rf /var/lib/apt/lists/*; \
	dpkgArch="$(dpkg --print-architecture | awk -F- '{ print $NF }')"; \
	wget -O /usr/local/bin/gosu "https://dl.example.org/gosu/$GOSU_VERSION/gosu-$dpkgArch"; \
	export GNUPGHOME="$(mktemp -d)"; \
	gpgconf --kill all; \
	rm -rf "$GNUPGHOME"; \
	apt-mark auto '.*' > /dev/null; \
	chmod +x /usr/local/bin/gosu; \
	gosu --version; \
	gosu nobody true

# a locale for sorting
RUN set -eux; \
	if [ -f /etc/dpkg/dpkg.cfg.d/docker ]; then \
		grep -q '/usr/share/locale' /etc/dpkg/dpkg.cfg.d/docker; \
		sed -ri '/\/usr\/share\/locale/d' /etc/dpkg/dpkg.cfg.d/docker; \
		! grep -q '/usr/share/locale' /etc/dpkg/dpkg.cfg.d/docker; \
	fi; \
	apt-get update; apt-get install -y --no-install-recommends locales; rm -rf /var/lib/apt/lists/*; \
	echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen; \
	locale-gen; \
	locale -a | grep 'en_US.utf8'
ENV LANG en_US.utf8

RUN mkdir /docker-entrypoint-initdb.d

ENV NGINX_MAJOR 17
ENV NGINX_VERSION 17.4-1.pgdg120+2
ENV PATH $PATH:/usr/lib/nginx/$NGINX_MAJOR/bin

RUN install --verbose --directory --owner nginx --group nginx --mode 3777 /run/nginx

VOLUME /var/cache/nginx

COPY docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/
RUN ln -sT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh
ENTRYPOINT ["docker-entrypoint.sh"]

STOPSIGNAL SIGINT
EXPOSE 80
CMD ["nginx"]
