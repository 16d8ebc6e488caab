# syntax=docker/dockerfile:1

FROM gradle:8-jdk21 AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY build.gradle.kts gradle.properties ./
RUN --mount=type=cache,target=/root/.cache \
    gradle dependencies --no-daemon

FROM deps AS build
COPY . .
RUN gradle buildFatJar --no-daemon

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/build ./build
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 8080
ENV PORT=8080
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["java", "-jar", "app.jar"]
