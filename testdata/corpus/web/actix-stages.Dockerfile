# syntax=docker/dockerfile:1

FROM rust:1.85 AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/root/.cache \
    mkdir src && echo "fn main() {}" > src/main.rs && cargo build --release

FROM deps AS build
COPY . .
RUN cargo build --release --locked

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/target/release ./target/release
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 8080
ENV PORT=8080
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["./target/release/app"]
