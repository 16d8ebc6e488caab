FROM busybox
COPY . /o/
