ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/caddy
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/caddy.tar.gz /tmp/caddy.tar.gz
RUN tar xf /tmp/caddy.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 33 caddy && adduser -S -G caddy -u 33 caddy
COPY --from=build --link /out /
COPY --chown=caddy:caddy --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER caddy
VOLUME /data
EXPOSE 80 443 443/udp 2019
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD caddy --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["caddy"]
