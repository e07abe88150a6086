# Short names for what a day needs. `sh tests/run.sh` and `sh tests/demo.sh` need no just.

_default:
    @just --list --unsorted

# the binary, with optimisation
build:
    cargo build --release

# what every commit must pass in seconds: format, lints, documentation, floors
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
    cargo test --quiet --test layering

# every test; arguments go to cargo test
test *arguments:
    sh tests/run.sh {{arguments}}

# the main job, from nothing
demo:
    sh tests/demo.sh

# ocistage beside buildah, on this machine: just bench, just bench no-op
bench filter="":
    cargo bench --bench bench -- {{filter}}

# a reader of foreign text under cargo-fuzz: just fuzz parse, just fuzz ignore 50000
fuzz target runs="1000000":
    mkdir -p target/fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none {{target}} \
        target/fuzz/corpus/{{target}} testdata/fuzz/{{target}} -- -runs={{runs}} -max_len=4096 -timeout=5

# golden files: compared, or rewritten with UPDATE=1 and then reviewed as a diff
golden:
    INSTA_UPDATE={{ if env("UPDATE", "") == "1" { "always" } else { "no" } }} cargo test --lib --test parse

# the documentation of the library
doc:
    cargo doc --no-deps --open

# what CI runs
ci:
    .ci/run
