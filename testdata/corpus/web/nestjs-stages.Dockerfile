# syntax=docker/dockerfile:1

FROM node:22 AS base
WORKDIR /app
ENV APP_ENV=production \
    TZ=Etc/UTC

FROM base AS deps
COPY package*.json ./
RUN --mount=type=cache,target=/root/.cache \
    npm ci --omit=dev

FROM deps AS build
COPY . .
RUN npx nest build

FROM base AS test
COPY --from=build /app /app
RUN ["/bin/sh", "-c", "./run-tests.sh"]

FROM base AS runtime
RUN addgroup --system --gid 1001 app && adduser --system --uid 1001 --ingroup app app
COPY --from=build --chown=app:app /app/dist ./dist
COPY --from=deps --chown=app:app /app/ ./
USER app
EXPOSE 3000
ENV PORT=3000
HEALTHCHECK --interval=10s --timeout=2s CMD wget -qO- http://localhost:${PORT}/health || exit 1
CMD ["node", "dist/main"]
