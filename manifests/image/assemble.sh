#!/bin/sh
# Makes an image's folder: assemble.sh IMAGE PROGRAM FOLDER [BUSYBOX]
#   IMAGE outrigger, sync or k8s-gsidecar PROGRAM outrigger, from compile.sh BUSYBOX a static one, which sync
#   and k8s-gsidecar need for the option SCRIPT
set -eu
[ $# -ge 3 ] || { echo "usage: assemble.sh IMAGE PROGRAM FOLDER [BUSYBOX]" >&2; exit 2; }
image=$1 program=$2 folder=$3 busybox=${4:-}

mkdir -p "$folder/bin" "$folder/etc/ssl/certs" "$folder/usr/bin" "$folder/tmp"
chmod 1777 "$folder/tmp"
cat >"$folder/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
k8s-gsidecar:x:1000:1000:k8s-gsidecar:/tmp:/sbin/nologin
outrigger:x:65532:65532:outrigger:/tmp:/sbin/nologin
nobody:x:65534:65534:nobody:/tmp:/sbin/nologin
PASSWD
cut -d: -f1,3 "$folder/etc/passwd" | sed 's/:/:x:/; s/$/:/' >"$folder/etc/group"
echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"

case $image in
outrigger) cp "$program" "$folder/bin/outrigger" ;;
sync) cp "$program" "$folder/bin/outrigger" ;;
k8s-gsidecar) cp "$program" "$folder/bin/k8s-gsidecar" ;; # the name is the profile
*) echo "assemble.sh: there is no image $image" >&2; exit 2 ;;
esac

[ "$image" = outrigger ] && exit
[ -n "$busybox" ] || { echo "assemble.sh: the image $image needs a static busybox" >&2; exit 2; }
cp "$busybox" "$folder/bin/busybox"
for tool in sh awk cat chmod cmp cp cut date diff dirname echo env expr false find grep head kill killall ln ls mkdir mktemp mv nc \
    pidof pkill printf ps pwd readlink rm rmdir sed sha256sum sleep sort stat tail tar tee test touch tr true uniq wc wget xargs; do
    ln -sf busybox "$folder/bin/$tool"
done
ln -sf /bin/busybox "$folder/usr/bin/env"
