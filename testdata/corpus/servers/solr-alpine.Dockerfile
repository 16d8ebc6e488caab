ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/solr
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/solr.tar.gz /tmp/solr.tar.gz
RUN tar xf /tmp/solr.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 8983 solr && adduser -S -G solr -u 8983 solr
COPY --from=build --link /out /
COPY --chown=solr:solr --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER solr
VOLUME /var/solr
EXPOSE 8983
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD solr --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["solr"]
