FROM swift:6.0

WORKDIR /app

COPY Package.swift Package.resolved ./
RUN swift package resolve

COPY . .
RUN swift build -c release --static-swift-stdlib

EXPOSE 8080
CMD ["./Run", "serve", "--env", "production"]
