ARG ALPINE_VERSION=3.21
FROM alpine:${ALPINE_VERSION} AS build
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/apk ln -s /var/cache/apk /etc/apk/cache && apk add build-base linux-headers openssl-dev
WORKDIR /usr/src/postgres
ADD --checksum=sha256:abababababababababababababababababababababababababababababababab https://dl.example.org/postgres.tar.gz /tmp/postgres.tar.gz
RUN tar xf /tmp/postgres.tar.gz --strip-components=1 && ./configure --prefix=/usr/local --host=$TARGETARCH && make -j"$(getconf _NPROCESSORS_ONLN)" && make install DESTDIR=/out

FROM alpine:${ALPINE_VERSION}
RUN addgroup -S -g 999 postgres && adduser -S -G postgres -u 999 postgres
COPY --from=build --link /out /
COPY --chown=postgres:postgres --chmod=0755 docker-entrypoint.sh /usr/local/bin/
USER postgres
VOLUME /var/lib/postgresql/data
EXPOSE 5432
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 CMD postgres --version || exit 1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
