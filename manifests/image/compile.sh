#!/bin/sh
# Compiles the static program of the images: compile.sh ARCHITECTURE, which is amd64 or arm64 as in docker. Prints the program's
# path. Needs rustup's toolchain, and for the other architecture its C compiler (gcc-aarch64-linux-gnu).
set -eu
cd "$(dirname "$0")/../.."

case ${1:-} in
amd64) target=x86_64-unknown-linux-gnu compiler=x86_64-linux-gnu-gcc ;;
arm64)
    target=aarch64-unknown-linux-gnu compiler=aarch64-linux-gnu-gcc
    export JEMALLOC_SYS_WITH_LG_PAGE=16 # kernels for arm64 have pages of 4, 16 or 64 KiB
    ;;
*)
    echo "usage: compile.sh amd64|arm64" >&2
    exit 2
    ;;
esac
command -v "$compiler" >/dev/null || { echo "$compiler is missing: apt-get install gcc-${compiler%-gcc}" >&2; exit 1; }
rustup target add "$target" >&2

variable=$(echo "$target" | tr a-z- A-Z_)
export "CARGO_TARGET_${variable}_LINKER=$compiler" "CC_$(echo "$target" | tr - _)=$compiler"
# The threshold is for functions that do not ask to be inlined: a sixth smaller, for 5 % more instructions a review.
export "CARGO_TARGET_${variable}_RUSTFLAGS=-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C llvm-args=-inline-threshold=50"

# Embeds the list of crates for scanners, if the tool is available.
auditable=
if cargo auditable --version >/dev/null 2>&1; then auditable=auditable; fi
${CARGO:-cargo} $auditable build --locked --profile image --bin outrigger --target "$target" >&2
echo "${CARGO_TARGET_DIR:-target}/$target/image/outrigger"
