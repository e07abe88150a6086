#!/bin/sh
# Installs what the tests and the demo need and this machine lacks: real registries, runtimes and readers from the
# distribution, and an unprivileged user with subordinate ids. Sourced by run.sh and demo.sh, or run by itself.
# Says in one line each what it lacks and cannot get. Leaves no service running.

# Our own traffic stays on loopback; a proxy must not see it. (apt and cargo keep theirs for everything else.)
no_proxy="127.0.0.1,localhost,::1${no_proxy:+,$no_proxy}"
NO_PROXY=$no_proxy
PATH="$HOME/.cargo/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export no_proxy NO_PROXY PATH

OCISTAGE_TEST_USER=ocitester
export OCISTAGE_TEST_USER

setup_as_root=
[ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null 2>&1 || setup_as_root="sudo -n"

setup_say() { printf 'setup: %s\n' "$*" >&2; }

setup_can_root() {
    [ "$(id -u)" = 0 ] && return 0
    [ -n "$setup_as_root" ] && $setup_as_root true 2>/dev/null
}

# The packages behind commands that are missing here, one name a line.
setup_missing() {
    while read -r command package; do
        command -v "$command" >/dev/null 2>&1 || echo "$package"
    done <<LIST
docker-registry docker-registry
runc runc
crun crun
podman podman
buildah buildah
skopeo skopeo
umoci umoci
debootstrap debootstrap
newuidmap uidmap
fuse-overlayfs fuse-overlayfs
setpriv util-linux
curl curl
git git
openssl openssl
bzip2 bzip2
xz xz-utils
/usr/bin/time time
cc gcc
cc libc6-dev
LIST
    # A dynamic busybox would not run alone in an image.
    if ! busybox_static=$(command -v busybox) || ! busybox 2>/dev/null | head -n 1 | grep -q BusyBox ||
        { command -v ldd >/dev/null 2>&1 && ldd "$busybox_static" >/dev/null 2>&1; }; then
        echo busybox-static
    fi
}

setup_packages() {
    packages=$(setup_missing | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        setup_say "no apt-get here; install by hand what these Debian packages hold: $packages"
        return 1
    fi
    if ! setup_can_root; then
        setup_say "neither root nor sudo; have an administrator run: apt-get install $packages"
        return 1
    fi
    setup_say "installing $packages"
    setup_log=$(mktemp)
    if ! { $setup_as_root apt-get update &&
        $setup_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
    } </dev/null >"$setup_log" 2>&1; then
        tail -n 5 "$setup_log" >&2
        setup_say "apt-get could not install all of: $packages"
        rm -f "$setup_log"
        return 1
    fi
    rm -f "$setup_log"
    # The package starts a registry of its own on port 5000; the tests start theirs on free ports.
    case " $packages" in *" docker-registry "*)
        if command -v systemctl >/dev/null 2>&1; then
            $setup_as_root systemctl disable --now docker-registry >/dev/null 2>&1 || true
        fi ;;
    esac
}

# The user that rootless tests run as: ordinary, with 65,536 subordinate ids.
setup_user() {
    if ! id "$OCISTAGE_TEST_USER" >/dev/null 2>&1; then
        setup_can_root || { setup_say "no user $OCISTAGE_TEST_USER, and no root to make it: rootless tests are skipped"; return 0; }
        $setup_as_root useradd --create-home --shell /bin/sh "$OCISTAGE_TEST_USER" || return 1
    fi
    for ids in /etc/subuid /etc/subgid; do
        if ! grep -q "^$OCISTAGE_TEST_USER:" "$ids" 2>/dev/null; then
            setup_can_root || { setup_say "$OCISTAGE_TEST_USER has no range in $ids: rootless tests are skipped"; continue; }
            echo "$OCISTAGE_TEST_USER:200000:65536" | $setup_as_root tee -a "$ids" >/dev/null
        fi
    done
}

setup() {
    setup_failed=0
    if ! command -v cargo >/dev/null 2>&1; then
        setup_say "no cargo; install the Rust toolchain with rustup"
        setup_failed=1
    fi
    setup_packages || setup_failed=1
    setup_user || setup_failed=1
    return $setup_failed
}

case "$0" in */setup.sh | setup.sh) setup ;; esac
