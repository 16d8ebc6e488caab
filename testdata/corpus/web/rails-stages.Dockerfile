# syntax=docker/dockerfile:1

FROM ruby:3.4-slim AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY Gemfile Gemfile.lock ./
RUN --mount=type=cache,target=/root/.cache \
    bundle install

FROM deps AS build
COPY . .
RUN SECRET_KEY_BASE_DUMMY=1 ./bin/rails assets:precompile

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/public ./public
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 3000
ENV PORT=3000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["./bin/rails", "server"]
