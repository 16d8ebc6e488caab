ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/elasticsearch
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/elasticsearch.tar.gz /tmp/elasticsearch.tar.gz
RUN tar xf /tmp/elasticsearch.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 1000 elasticsearch && adduser -S -G elasticsearch -u 1000 elasticsearch
COPY --from=build --link /out /
COPY --chown=elasticsearch:elasticsearch --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER elasticsearch
VOLUME /usr/share/elasticsearch/data
EXPOSE 9200 9300
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD elasticsearch --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["elasticsearch"]
