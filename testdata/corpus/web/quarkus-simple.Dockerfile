FROM eclipse-temurin:21-jdk

WORKDIR /app

COPY build.gradle settings.gradle gradlew ./
RUN ./gradlew dependencies

COPY . .
RUN ./gradlew build -x test

EXPOSE 8080
CMD ["java", "-jar", "build/quarkus-app/quarkus-run.jar"]
