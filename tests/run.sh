#!/bin/sh
# Runs every test, on real registries and runtimes, and ends with the line `N passed, N failed, N skipped`.
# Needs cargo, and apt with root or sudo for what is missing. Arguments go to `cargo test`.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/setup.sh
setup || setup_say "going on with what there is; tests that cannot run say so"
command -v cargo >/dev/null 2>&1 || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p target/test-bases

# Namespaces, mounts and ownership are tested as root; building stays with whoever called.
if [ "$(id -u)" != 0 ] && setup_can_root; then
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo -n env PATH=$PATH HOME=/root no_proxy=$no_proxy \
OCISTAGE_TEST_USER=$OCISTAGE_TEST_USER"
fi

{
    cargo test --no-fail-fast "$@" </dev/null 2>&1
    echo $? >"$work/status"
} | tee "$work/log"

status=$(cat "$work/status")
# What cannot run here says so on a line of its own, or behind the name of its test.
grep -o 'SKIPPED: .*' "$work/log" | sort -u >"$work/skips"
skipped=$(wc -l <"$work/skips" | tr -d ' ')
if [ "$skipped" != 0 ]; then
    echo
    cat "$work/skips"
fi
# A test that skipped itself was counted as passed by its binary.
counts=$(awk -v skipped="$skipped" '
    /^test result: / { passed += $4; failed += $6; ignored += $8 }
    END { print passed - skipped, failed + 0, skipped + ignored }' "$work/log")
set -- $counts
# Nothing compiled, or a test binary died: that is a failure even where no test was counted.
[ "$status" = 0 ] || [ "$2" != 0 ] || set -- "$1" 1 "$3"
[ "$2" = 0 ] || status=1
echo
echo "$1 passed, $2 failed, $3 skipped"
exit "$status"
