ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/couchdb
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/couchdb.tar.gz /tmp/couchdb.tar.gz
RUN tar xf /tmp/couchdb.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 5984 couchdb && adduser -S -G couchdb -u 5984 couchdb
COPY --from=build --link /out /
COPY --chown=couchdb:couchdb --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER couchdb
VOLUME /opt/couchdb/data
EXPOSE 5984 4369 9100
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD couchdb --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["couchdb"]
