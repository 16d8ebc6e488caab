FROM sbtscala/scala-sbt:eclipse-temurin-21

WORKDIR /app

COPY build.sbt project ./
RUN sbt update

COPY . .
RUN sbt stage

EXPOSE 9000
CMD ["bin/app"]
