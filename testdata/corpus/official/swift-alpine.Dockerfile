FROM alpine:3.21

RUN apk add --no-cache \
		ca-certificates \
		tzdata

ENV SWIFT_VERSION 6.0.3

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
	wget -O swift.tar.xz "https://www.example.org/ftp/swift/${SWIFT_VERSION%%-*}/swift-$SWIFT_VERSION.tar.xz"; \
	mkdir -p /usr/src/swift; \
	tar --extract --directory /usr/src/swift --strip-components=1 --file swift.tar.xz; \
	rm swift.tar.xz; \
	apk del --no-network .fetch-deps

WORKDIR /usr/src/swift

COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]
CMD [ "swift" ]
