# syntax=docker/dockerfile:1

FROM eclipse-temurin:21-jdk AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY mvnw pom.xml ./
RUN --mount=type=cache,target=/root/.cache \
    ./mvnw dependency:go-offline

FROM deps AS build
COPY . .
RUN ./mvnw package -DskipTests

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/target ./target
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 8080
ENV PORT=8080
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["java", "-jar", "target/app.jar"]
