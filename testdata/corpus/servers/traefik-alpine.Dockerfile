ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/traefik
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/traefik.tar.gz /tmp/traefik.tar.gz
RUN tar xf /tmp/traefik.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 65532 traefik && adduser -S -G traefik -u 65532 traefik
COPY --from=build --link /out /
COPY --chown=traefik:traefik --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER traefik
VOLUME /etc/traefik
EXPOSE 80 443
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD traefik --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["traefik"]
