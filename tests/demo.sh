#!/bin/sh
# The main job, from nothing: a multi-stage Dockerfile becomes an image, first in the local store, then in a registry, and
# a second build on wiped state finds everything done. Needs cargo, and apt with root or sudo for what is missing.
# Starts a registry of its own on a free loopback port and leaves nothing running.
set -eu
cd "$(dirname "$0")/.."
. tests/setup.sh
setup || setup_say "going on with what there is"

work=$(mktemp -d)
registry=
clean() {
    [ -z "$registry" ] || kill "$registry" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
for program in cargo docker-registry busybox curl; do
    command -v $program >/dev/null 2>&1 || fail "$program is missing"
done

say "building ocistage"
cargo build
ocistage=${CARGO_TARGET_DIR:-target}/debug/ocistage

say "starting a registry"
attempt=0
while [ -z "$registry" ]; do
    attempt=$((attempt + 1))
    [ $attempt -le 20 ] || fail "no registry: $(tail -n 3 "$work/access.log")"
    address=127.0.0.1:$((20000 + ($$ + attempt * 977) % 20000))
    cat >"$work/registry.yml" <<CONFIG
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: '$address', relativeurls: true}
CONFIG
    docker-registry serve "$work/registry.yml" >"$work/access.log" 2>&1 &
    registry=$!
    waited=0
    until curl -fs --noproxy '*' -o "$work/answer" "http://$address/v2/"; do
        waited=$((waited + 1))
        if ! kill -0 "$registry" 2>/dev/null || [ $waited -gt 100 ]; then
            kill "$registry" 2>/dev/null || true
            registry=
            break
        fi
        sleep 0.1
    done
done
echo "registry at $address"

say "making a base image of busybox and the stand-in toolchains, with ocistage itself"
stand_ins=testdata/bases/stand-ins
root=$work/base/root
mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/usr/bin" "$root/proc" "$root/sys" "$root/dev"
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
for package in python3 python3-venv npm; do mkdir -p "$root/usr/share/stand-ins/$package/usr/bin"; done
cp "$stand_ins/apt-get" "$root/usr/bin/"
cp "$stand_ins/python3" "$root/usr/share/stand-ins/python3/usr/bin/"
cp "$stand_ins/npm" "$stand_ins/node" "$root/usr/share/stand-ins/npm/usr/bin/"
cat >"$work/base/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY root/ /
ENV PATH=/usr/local/bin:/usr/bin:/bin
CMD ["sh"]
DOCKERFILE
base=$address/base/debian:1
"$ocistage" push --state-dir "$work/state-base" -t "$base" "$work/base"

say "building testdata/examples/stage-tree into the local store"
"$ocistage" build --state-dir "$work/state-local" --build-arg "BASE=$base" testdata/examples/stage-tree

# One build that pushes, on state of its own; prints the requests it took.
target=$address/demo/stage-tree:1
push_once() {
    rm -rf "$work/state"
    lines=$(wc -l <"$work/access.log")
    "$ocistage" push --state-dir "$work/state" --build-arg "BASE=$base" -t "$target" testdata/examples/stage-tree
    sleep 0.2
    tail -n "+$((lines + 1))" "$work/access.log" | grep '"[A-Z]* /v2/' >"$work/requests" || true
    requests=$(wc -l <"$work/requests" | tr -d ' ')
    uploads=$(grep -c '"[A-Z]* /v2/[^ ]*/blobs/uploads/' "$work/requests" || true)
    digest=$(curl -fsI --noproxy '*' -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
        "http://$address/v2/demo/stage-tree/manifests/1" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')
    echo "requests to the registry: $requests, of them for blob uploads: $uploads"
    echo "digest: $digest"
}

say "building it into the registry: first time"
push_once
first=$digest
[ -n "$first" ] || fail "nothing was pushed"
[ "$uploads" != 0 ] || fail "the first build uploaded nothing"

say "building it again on wiped state: the registry knows it all"
push_once
[ "$digest" = "$first" ] || fail "the second build has another digest: $digest"
[ "$uploads" = 0 ] || fail "the second build uploaded blobs: $(cat "$work/requests")"

if [ "$(id -u)" = 0 ] && command -v skopeo >/dev/null 2>&1 && command -v umoci >/dev/null 2>&1 &&
    command -v runc >/dev/null 2>&1; then
    say "running what was built, with runc"
    skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$target" "oci:$work/layout:demo"
    umoci unpack --image "$work/layout:demo" "$work/bundle" >/dev/null 2>&1
    sed -i 's/"terminal": *true/"terminal": false/' "$work/bundle/config.json"
    said=$(runc --root "$work/runc" run -b "$work/bundle" "ocistage-demo-$$" </dev/null)
    echo "$said"
    [ "$said" = "stage-tree serves /app/static" ] || fail "the image says something else"
fi

say "done: one image, built twice, uploaded once"
