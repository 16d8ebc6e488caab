# syntax=docker/dockerfile:1

FROM python:3.13-slim AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY Pipfile Pipfile.lock ./
RUN --mount=type=cache,target=/root/.cache \
    pip install pipenv && pipenv install --deploy

FROM deps AS build
COPY . .
RUN true

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/app ./app
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 5000
ENV PORT=5000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["flask", "run", "--host=0.0.0.0"]
