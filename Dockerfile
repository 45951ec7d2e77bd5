# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin highwater \
    && cp target/dist/highwater /highwater

# Contains glibc, libgcc and the certificates of public authorities; no shell, no package manager. Not
# musl: its allocator is slow when many threads allocate.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Highwater" \
      org.opencontainers.image.description="Reports to applications which rows of their PostgreSQL database changed" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /highwater /usr/local/bin/highwater
# Numeric, so that Kubernetes can verify that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 8080 9187
# No HEALTHCHECK: there is no shell to run one. Orchestrators probe /livez and /readyz.
ENTRYPOINT ["/usr/local/bin/highwater"]
CMD ["run"]
