# syntax = docker/dockerfile:1.7-labs
# check=skip=UndefinedVar;error=false
ARG APP=api

FROM gcr.io/bazel-public/bazel:8.0.0 AS base
ARG APP
ENV APP=${APP}
WORKDIR /repo

FROM base AS pruner
COPY . .
RUN bazel fetch //"$APP"/...

FROM base AS installer
COPY --parents WORKSPACE MODULE.bazel BUILD packages/*/package.json apps/./*/package.json /repo/
COPY --from=pruner /repo/ ./
RUN --mount=type=cache,id=bazel-store,target=/cache,sharing=locked \
    --mount=type=bind,from=pruner,source=/repo,target=/mnt/repo,ro \
    --mount=type=secret,id=registry_token,env=REGISTRY_TOKEN \
    bazel build //"$APP":image

FROM installer AS api-build
ARG GIT_SHA=unknown
ARG BUILD_DATE
LABEL org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.created="${BUILD_DATE:-1970-01-01T00:00:00Z}" \
      org.opencontainers.image.title="api"
RUN <<EOF
set -e
mkdir -p /out
cp -r "/repo/apps/$APP" /out/
echo "$GIT_SHA" > /out/REVISION
EOF

FROM scratch AS artifacts
COPY --from=api-build /out /

FROM gcr.io/distroless/base-debian12:nonroot AS api
COPY --from=api-build --chown=65532:65532 --exclude=**/*.map --exclude=**/test /out /app
COPY <<-"CONFIG" /etc/api/config.toml
	[server]
	port = 8080
	name = "$APP"
	CONFIG
WORKDIR /app
USER 65532:65532
EXPOSE 8080/tcp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/api"]
