ARG VARIANT=eclipse-temurin:21-jdk
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
WORKDIR /workspaces/quarkus
COPY --chown=$USERNAME:$USERNAME build.gradle settings.gradle gradlew ./
RUN ./gradlew dependencies
VOLUME [ "/workspaces/quarkus/node_modules" ]
EXPOSE 8080 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "java -jar build/quarkus-app/quarkus-run.jar" ]
