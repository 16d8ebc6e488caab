ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/influxdb
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/influxdb.tar.gz /tmp/influxdb.tar.gz
RUN tar xf /tmp/influxdb.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 1500 influxdb && adduser -S -G influxdb -u 1500 influxdb
COPY --from=build --link /out /
COPY --chown=influxdb:influxdb --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER influxdb
VOLUME /var/lib/influxdb2
EXPOSE 8086
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD influxdb --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["influxdb"]
