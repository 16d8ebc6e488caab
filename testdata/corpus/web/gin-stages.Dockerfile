# syntax=docker/dockerfile:1

FROM golang:1.24 AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/root/.cache \
    go mod download

FROM deps AS build
COPY . .
RUN CGO_ENABLED=0 go build -ldflags="-s -w" -o /out/app ./cmd/app

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/bin ./bin
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 8080
ENV PORT=8080
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["/out/app"]
