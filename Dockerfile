# The binary, built from this repository, on a small image. `docker compose up --build` uses it; see docs/cluster.md.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY tools/setup.sh tools/
RUN tools/setup.sh
COPY . .
RUN cargo build --release --workspace --locked --bin shardforge && cp target/release/shardforge /usr/local/bin/

FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/shardforge /usr/local/bin/
COPY docker/node.sh /usr/local/bin/shardforge-node
RUN useradd --create-home --home-dir /var/lib/shardforge shardforge
USER shardforge
WORKDIR /var/lib/shardforge
VOLUME /var/lib/shardforge
# Clients, other nodes, and the admin port.
EXPOSE 5432 7432 8432
CMD ["shardforge-node"]
