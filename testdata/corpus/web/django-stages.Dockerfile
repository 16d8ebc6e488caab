# syntax=docker/dockerfile:1

FROM python:3.13-slim AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache \
    pip install --no-cache-dir -r requirements.txt

FROM deps AS build
COPY . .
RUN python manage.py collectstatic --noinput

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/static ./static
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 8000
ENV PORT=8000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["gunicorn", "app.wsgi:application", "--bind", "0.0.0.0:8000"]
