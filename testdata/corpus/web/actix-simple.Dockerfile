FROM rust:1.85

WORKDIR /app

COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo "fn main() {}" > src/main.rs && cargo build --release

COPY . .
RUN cargo build --release --locked

EXPOSE 8080
CMD ["./target/release/app"]
