ARG VARIANT=php:8.4-apache
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
WORKDIR /workspaces/symfony
COPY --chown=$USERNAME:$USERNAME composer.json composer.lock symfony.lock ./
RUN composer install --no-progress
VOLUME [ "/workspaces/symfony/node_modules" ]
EXPOSE 80 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "apache2-foreground" ]
