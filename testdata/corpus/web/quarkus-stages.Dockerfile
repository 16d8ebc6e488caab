# syntax=docker/dockerfile:1

FROM eclipse-temurin:21-jdk AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY build.gradle settings.gradle gradlew ./
RUN --mount=type=cache,target=/root/.cache \
    ./gradlew dependencies

FROM deps AS build
COPY . .
RUN ./gradlew build -x test

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
CMD ["java", "-jar", "build/quarkus-app/quarkus-run.jar"]
