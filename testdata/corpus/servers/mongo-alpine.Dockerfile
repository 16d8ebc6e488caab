ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/mongo
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/mongo.tar.gz /tmp/mongo.tar.gz
RUN tar xf /tmp/mongo.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 999 mongodb && adduser -S -G mongodb -u 999 mongodb
COPY --from=build --link /out /
COPY --chown=mongodb:mongodb --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER mongodb
VOLUME /data/db
EXPOSE 27017
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD mongo --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mongo"]
