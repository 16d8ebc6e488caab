ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/mysql
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/mysql.tar.gz /tmp/mysql.tar.gz
RUN tar xf /tmp/mysql.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 999 mysql && adduser -S -G mysql -u 999 mysql
COPY --from=build --link /out /
COPY --chown=mysql:mysql --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER mysql
VOLUME /var/lib/mysql
EXPOSE 3306 33060
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD mysql --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mysql"]
