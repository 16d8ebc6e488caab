# syntax=docker/dockerfile:1

FROM php:8.4-fpm AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY composer.json composer.lock ./
RUN --mount=type=cache,target=/root/.cache \
    composer install --no-dev --no-scripts

FROM deps AS build
COPY . .
RUN php artisan optimize

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/public ./public
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 9000
ENV PORT=9000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["php-fpm"]
