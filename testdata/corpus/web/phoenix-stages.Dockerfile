# syntax=docker/dockerfile:1

FROM elixir:1.18 AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY mix.exs mix.lock ./
RUN --mount=type=cache,target=/root/.cache \
    mix deps.get --only prod

FROM deps AS build
COPY . .
RUN mix release

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/_build ./_build
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 4000
ENV PORT=4000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["bin/server"]
