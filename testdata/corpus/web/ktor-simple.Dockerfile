FROM gradle:8-jdk21

WORKDIR /app

COPY build.gradle.kts gradle.properties ./
RUN gradle dependencies --no-daemon

COPY . .
RUN gradle buildFatJar --no-daemon

EXPOSE 8080
CMD ["java", "-jar", "app.jar"]
