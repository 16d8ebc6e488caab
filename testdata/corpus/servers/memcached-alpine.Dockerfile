ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/memcached
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/memcached.tar.gz /tmp/memcached.tar.gz
RUN tar xf /tmp/memcached.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 11211 memcache && adduser -S -G memcache -u 11211 memcache
COPY --from=build --link /out /
COPY --chown=memcache:memcache --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER memcache
VOLUME /run/memcached
EXPOSE 11211
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD memcached --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["memcached"]
