ARG VARIANT=rust:1.85
FROM ${VARIANT} AS dev
ARG USERNAME=vscode
ARG USER_UID=1000
ARG USER_GID=$USER_UID
RUN groupadd --gid $USER_GID $USERNAME \
    && useradd -s /bin/bash --uid $USER_UID --gid $USER_GID -m $USERNAME \
    # become root in the container
    && apt-get update && apt-get install -y sudo \
    && echo $USERNAME ALL=\(root\) NOPASSWD:ALL > /etc/sudoers.d/$USERNAME \
    && chmod 0440 /etc/sudoers.d/$USERNAME
USER $USERNAME
WORKDIR /workspaces/actix
COPY --chown=$USERNAME:$USERNAME Cargo.toml Cargo.lock ./
RUN mkdir src && echo "fn main() {}" > src/main.rs && cargo build --release
VOLUME [ "/workspaces/actix/node_modules" ]
EXPOSE 8080 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "./target/release/app" ]
