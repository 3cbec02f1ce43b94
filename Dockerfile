# syntax=docker/dockerfile:1
# The server with its console: built here, run without a shell and without root.
#
#     docker build -t mimamori .
#     docker run -p 8000:8000 -v mimamori:/data mimamori
#     docker exec CONTAINER /usr/local/bin/mimamori link

FROM node:20-bookworm-slim AS console
WORKDIR /src/console
COPY console/package.json console/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY console/ ./
RUN npm run --silent build

FROM rust:1.95-slim-bookworm AS server
WORKDIR /src
COPY . .
COPY --from=console /src/console/dist console/dist
# what was compiled before is kept beside the layers; the program itself is taken out
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin mimamori \
    && install -m 0755 target/release/mimamori /usr/local/bin/mimamori \
    && install -d -m 0700 /data

# glibc, the roots of TLS, nothing else
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=server /usr/local/bin/mimamori /usr/local/bin/mimamori
# a volume that is empty takes over whose this is
COPY --from=server --chown=65532:65532 --chmod=0700 /data /data
ENV MIMAMORI_STORAGE__DIR=/data \
    MIMAMORI_HTTP__LISTEN=0.0.0.0:8000 \
    MIMAMORI_LOG__FORMAT=json
EXPOSE 8000
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["/usr/local/bin/mimamori", "health"]
ENTRYPOINT ["/usr/local/bin/mimamori"]
CMD ["serve"]
