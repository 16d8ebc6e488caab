ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/redis
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/redis.tar.gz /tmp/redis.tar.gz
RUN tar xf /tmp/redis.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 999 redis && adduser -S -G redis -u 999 redis
COPY --from=build --link /out /
COPY --chown=redis:redis --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER redis
VOLUME /data
EXPOSE 6379
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD redis --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis"]
