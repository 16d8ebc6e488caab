# syntax=docker/dockerfile:1
ARG VERSION
ARG XX_VERSION=1.6.1

FROM --platform=$BUILDPLATFORM tonistiigi/xx:${XX_VERSION} AS xx
FROM --platform=${BUILDPLATFORM:-linux/amd64} euantorano/zig:0.13 AS build
COPY --from=xx / /
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT
ARG VERSION
WORKDIR /src
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache,id=build-$TARGETPLATFORM \
    zig build -Dtarget=${TARGETARCH}-linux && \
    echo "${VERSION:-dev}" > /out/version

FROM scratch AS binary
COPY --from=build /out/ /

FROM --platform=$TARGETPLATFORM alpine:3 AS release
# release is what is shipped
COPY --link --from=binary /app /usr/bin/app
RUN apk add --no-cache ca-certificates tzdata
USER 10001:10001
ENTRYPOINT ["app"]
