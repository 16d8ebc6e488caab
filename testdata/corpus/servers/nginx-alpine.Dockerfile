ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/nginx
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/nginx.tar.gz /tmp/nginx.tar.gz
RUN tar xf /tmp/nginx.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 101 nginx && adduser -S -G nginx -u 101 nginx
COPY --from=build --link /out /
COPY --chown=nginx:nginx --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER nginx
VOLUME /var/cache/nginx
EXPOSE 80
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD nginx --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["nginx"]
