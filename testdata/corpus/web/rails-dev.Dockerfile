ARG VARIANT=ruby:3.4-slim
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
WORKDIR /workspaces/rails
COPY --chown=$USERNAME:$USERNAME Gemfile Gemfile.lock ./
RUN bundle install
VOLUME [ "/workspaces/rails/node_modules" ]
EXPOSE 3000 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "./bin/rails server" ]
