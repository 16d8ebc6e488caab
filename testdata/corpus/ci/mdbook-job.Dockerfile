ARG BASE=rust:1-slim
FROM $BASE AS lint
SHELL ["/bin/sh", "-eo", "pipefail", "-c"]
WORKDIR /w
COPY . .
RUN cargo install mdbook && mdbook build 2>&1 | tee /tmp/log
FROM lint AS test
ARG CI=true SHARD=1/6
RUN --network=none CI=$CI SHARD="${SHARD%/*}" OF="${SHARD#*/}" ./ci/test.sh
FROM scratch AS report
COPY --from=test /w/report*.xml /w/coverage? /
COPY --from=lint /tmp/log /lint.log
