ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/haproxy
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/haproxy.tar.gz /tmp/haproxy.tar.gz
RUN tar xf /tmp/haproxy.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 99 haproxy && adduser -S -G haproxy -u 99 haproxy
COPY --from=build --link /out /
COPY --chown=haproxy:haproxy --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER haproxy
VOLUME /var/lib/haproxy
EXPOSE 8404
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD haproxy --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["haproxy"]
