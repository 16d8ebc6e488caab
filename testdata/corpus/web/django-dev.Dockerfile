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
WORKDIR /workspaces/django
COPY --chown=$USERNAME:$USERNAME requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
VOLUME [ "/workspaces/django/node_modules" ]
EXPOSE 8000 9229
ENTRYPOINT [ "/bin/bash", "-lc" ]
CMD [ "gunicorn app.wsgi:application --bind 0.0.0.0:8000" ]
