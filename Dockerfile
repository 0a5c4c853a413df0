# syntax=docker/dockerfile:1 The images: docker build --target outrigger|sync|k8s-gsidecar, of which outrigger is the default.
# The scripts in manifests/image make their folders. Tests run them too.

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
# The C compiler and a static busybox of the target architecture.
ARG TARGETARCH
# hadolint ignore=DL3008
RUN dpkg --add-architecture "$TARGETARCH" \
    && apt-get update \
    && apt-get install --yes --no-install-recommends "crossbuild-essential-$TARGETARCH" ca-certificates \
    && apt-get download "busybox-static:$TARGETARCH" \
    && dpkg --extract busybox-static_*.deb /busybox \
    && rm -rf busybox-static_*.deb /var/lib/apt/lists/*
RUN cargo install --locked --version 0.7.7 cargo-auditable
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    program=$(manifests/image/compile.sh "$TARGETARCH") \
    && for image in outrigger sync k8s-gsidecar; do \
        manifests/image/assemble.sh "$image" "$program" "/images/$image" /busybox/bin/busybox || exit 1; \
    done

# For Pods next to an app. Users are numeric, as runAsNonRoot requires.
FROM scratch AS sync
COPY --from=build /images/sync /
USER 65534:65534
ENTRYPOINT ["/bin/outrigger", "sync"]

FROM scratch AS k8s-gsidecar
COPY --from=build /images/k8s-gsidecar /
USER 1000:1000
ENTRYPOINT ["/bin/k8s-gsidecar"]

FROM scratch AS outrigger
COPY --from=build /images/outrigger /
USER 65532:65532
ENTRYPOINT ["/bin/outrigger"]
CMD ["serve"]
