# docker build -t agent-server .
FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p agent-server

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/agent-server /usr/local/bin/agent-server
WORKDIR /data
VOLUME /data
ENV API_HOST=0.0.0.0 API_PORT=8000
EXPOSE 8000
ENTRYPOINT ["/usr/local/bin/agent-server"]
