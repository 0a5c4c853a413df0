#!/bin/sh
# Makes the images for an architecture, amd64 or arm64, like the Dockerfile, prints their sizes, and runs them: as their user, with a
# read-only root, and under qemu-user for another architecture than this machine's. Needs root for mounts.
set -eu
cd "$(dirname "$0")/../.."
architecture=$1
most=25 # MB an image
work=$(mktemp -d)
chmod 755 "$work"
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

program=$(manifests/image/compile.sh "$architecture")

# The busybox of that architecture, from a separate apt configuration.
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
apt() {
    apt-get -qq -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" -o "Dir::State::Lists=$work/apt/lists" \
        -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$work" && apt download busybox-static)
dpkg --extract "$work"/busybox-static_*.deb "$work/busybox"

emulator=
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    emulator=/qemu
    cp "$(command -v qemu-aarch64-static)" "$work/qemu"
fi

user() { # of a stage of the Dockerfile
    sed -n "/^FROM scratch AS $1\$/,/^ENTRYPOINT/s/^USER \(.*\)/\1/p" Dockerfile
}

run() { # IMAGE COMMAND…: as a container with a read-only root
    image=$1
    shift
    exec unshare --mount sh -eu -c 'root=$1 user=$2; shift 2
        mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 chroot --userspec="$user" "$root" "$@"' \
        run "$work/$image" "$(user "$image")" $emulator "$@"
}

for image in outrigger sync k8s-gsidecar; do
    manifests/image/assemble.sh "$image" "$program" "$work/$image" "$work/busybox/bin/busybox"
    size=$(du --apparent-size --bytes --summarize "$work/$image" | cut -f1)
    echo "$image for $architecture: $((size / 1000)) kB of at most $most MB"
    [ "$size" -le $((most * 1000 * 1000)) ] || exit 1
    [ -z "$emulator" ] || cp "$work/qemu" "$work/$image/qemu"
done

(run outrigger /bin/outrigger --version)
for image in sync k8s-gsidecar; do
    [ -n "$emulator" ] || (run "$image" /bin/sh -c 'echo "a shell runs scripts"')
    # Without options, it reports the missing one.
    name=$(sed -n "/^FROM scratch AS $image\$/,/^ENTRYPOINT/s/^ENTRYPOINT \[\(.*\)\]/\1/p" Dockerfile | tr -d '",')
    # shellcheck disable=SC2086
    (run "$image" $name 2>&1 || true) | grep -q 'FOLDER\|LABEL\|cluster' || { echo "$image does not run" >&2; exit 1; }
done

# A review.
mkdir "$work/outrigger/sets"
cp examples/test-sidecarset/0-sidecarset.yaml "$work/outrigger/sets"
(run outrigger /bin/outrigger serve --from /sets --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --shutdown-delay 0) 2>"$work/log" &
server=$!
tries=0
until url=$(sed -n 's|.*webhook="\(https://[^"]*\)".*|\1|p' "$work/log") && [ -n "$url" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
review='{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "namespace": "default", "operation": "CREATE",
    "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
    "object": {"metadata": {"name": "p", "labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}}}}'
answer=$(curl --silent --show-error --insecure --header 'Content-Type: application/json' --data "$review" "$url")
case $answer in
*'"patch"'*) echo "a Pod is injected" ;;
*) echo "no patch: $answer" >&2; exit 1 ;;
esac
kill "$server"
wait "$server" && server=
