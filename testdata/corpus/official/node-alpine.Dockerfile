FROM alpine:3.21

RUN apk add --no-cache \
		ca-certificates \
		tzdata

ENV NODE_VERSION 22.14.0

RUN set -eux; \
	apk add --no-cache --virtual .fetch-deps \
		gnupg \
		tar \
		xz \
	; \
	for key in \
# the release team
		94AE36675C464D64BAFA68DD7434390BDBE9B9C5 \
		DD8F2338BAE7501E3DD5AC78C273792F7D83545D \
	; do \
		gpg --batch --keyserver hkps://keys.example.org --recv-keys "$key" || \
		gpg --batch --keyserver keyserver.example.org --recv-keys "$key" ; \
	done; \
	\
	wget -O node.tar.xz "https://www.example.org/ftp/node/${NODE_VERSION%%-*}/node-$NODE_VERSION.tar.xz"; \
	mkdir -p /usr/src/node; \
	tar --extract --directory /usr/src/node --strip-components=1 --file node.tar.xz; \
	rm node.tar.xz; \
	apk del --no-network .fetch-deps

WORKDIR /usr/src/node

COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
CMD [ "node" ]
