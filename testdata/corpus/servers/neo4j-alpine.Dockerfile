ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/neo4j
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/neo4j.tar.gz /tmp/neo4j.tar.gz
RUN tar xf /tmp/neo4j.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 7474 neo4j && adduser -S -G neo4j -u 7474 neo4j
COPY --from=build --link /out /
COPY --chown=neo4j:neo4j --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER neo4j
VOLUME /data
EXPOSE 7474 7473 7687
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD neo4j --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["neo4j"]
