FROM eclipse-temurin:21-jdk

WORKDIR /app

COPY mvnw pom.xml ./
RUN ./mvnw dependency:go-offline

COPY . .
RUN ./mvnw package -DskipTests

EXPOSE 8080
CMD ["java", "-jar", "target/app.jar"]
