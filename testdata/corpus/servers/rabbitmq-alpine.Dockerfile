ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/rabbitmq
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/rabbitmq.tar.gz /tmp/rabbitmq.tar.gz
RUN tar xf /tmp/rabbitmq.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 999 rabbitmq && adduser -S -G rabbitmq -u 999 rabbitmq
COPY --from=build --link /out /
COPY --chown=rabbitmq:rabbitmq --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER rabbitmq
VOLUME /var/lib/rabbitmq
EXPOSE 4369 5671 5672 15691 15692 25672
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD rabbitmq --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["rabbitmq"]
