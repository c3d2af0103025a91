# `just` lists these; CI calls the same scripts.

# What CI runs.
ci:
    .ci/run

# All tests, or those whose name contains NAME.
test NAME="":
    tests/run {{NAME}}

# The main job in half a minute.
demo:
    cargo run --release -- demo

# Accept changed snapshots after reading them.
accept:
    INSTA_UPDATE=always cargo test --test it table life

# What a release consists of, in target/dist.
release:
    deploy/release
