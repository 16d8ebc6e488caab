ARG VARIANT=python:3.13-slim
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
WORKDIR /workspaces/flask
COPY --chown=$USERNAME:$USERNAME Pipfile Pipfile.lock ./
RUN pip install pipenv && pipenv install --deploy
VOLUME [ "/workspaces/flask/node_modules" ]
EXPOSE 5000 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "flask run --host=0.0.0.0" ]
