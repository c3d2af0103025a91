#!/usr/bin/env python3
"""Takes what decides out of rekeyd, as a crate of its own: `model`, `decide`, the engine, and the tests that play them in
the fake world. cargo-mutants compiles it in seconds for each mutant; the whole of rekeyd would take minutes.

Nothing is changed on the way: the files are copied, and only the two lists of modules are written here. The one constant of
an adapter that the fake journal needs is taken from where it stands.
"""

import pathlib
import shutil
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]

SOURCES = ["model", "decide", "engine", "ports", "ports.rs", "describe.rs",
           "adapters/journal/index.rs", "adapters/journal/uptime.rs"]
LIB = """//! What decides.
pub mod adapters {
    pub mod journal {
        use std::time::Duration;
        LEASE
        pub mod index;
        mod uptime;
        pub use uptime::SharedClock;
    }
}
pub mod decide;
pub mod describe;
pub mod engine;
pub mod model;
pub mod ports;
"""
TESTS = ["table", "edges", "life", "crash", "matrix", "ordeals", "replicas", "schedules", "waves"]
SUPPORT = ["counted", "dice", "world"]
MAIN = "".join(f"mod {name};\n" for name in TESTS)
MAIN += "mod support {\n" + "".join(f"    pub mod {name};\n" for name in SUPPORT) + "}\n"

DEPENDENCIES = ["async-trait", "aws-lc-rs", "base64", "croner", "futures-util", "jiff", "serde", "serde_json", "thiserror",
                "tokio", "tokio-util", "tracing", "url", "uuid", "zeroize"]


def value(of):
    """A TOML value on one line."""
    if isinstance(of, dict):
        return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in of.items()) + " }"
    if isinstance(of, list):
        return "[" + ", ".join(value(inner) for inner in of) + "]"
    return {True: "true", False: "false"}.get(of) if isinstance(of, bool) else f'"{of}"'


def manifest():
    all_of = tomllib.loads((ROOT / "Cargo.toml").read_text())
    lines = ["[package]", 'name = "rekeyd"', 'version = "0.0.0"', 'edition = "2024"', "autotests = false", "[workspace]"]
    lines += ["[dependencies]"] + [f"{name} = {value(all_of['dependencies'][name])}" for name in DEPENDENCIES]
    lines += ["[dev-dependencies]"]
    lines += [f"{name} = {value(all_of['dev-dependencies'][name])}" for name in ["tokio", "insta"]]
    lines += ["[[test]]", 'name = "it"', 'path = "tests/it/main.rs"']
    # Compiled once for each mutant, and run for seconds: what is not compiled again may take its time.
    lines += ["[profile.dev]", "debug = false", "opt-level = 0", '[profile.dev.package."*"]', "opt-level = 2"]
    return "\n".join(lines) + "\n"


def copy(what, to):
    source, target = ROOT / what, to / what
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def main(to):
    shutil.rmtree(to, ignore_errors=True)
    for source in SOURCES:
        copy(f"src/{source}", to)
    # All of them, though few are compiled: the matrix looks for the files that it names.
    copy("tests/it", to)
    (to / "tests/it/support/mod.rs").unlink()
    copy("docs/protocol.md", to)
    copy("Cargo.lock", to)
    journal = (ROOT / "src/adapters/journal/mod.rs").read_text().splitlines()
    [lease] = [line for line in journal if line.startswith("pub const LEASE:")]
    (to / "src/lib.rs").write_text(LIB.replace("LEASE", lease, 1))
    (to / "tests/it/main.rs").write_text(MAIN)
    (to / "Cargo.toml").write_text(manifest())


main(pathlib.Path(sys.argv[1]))
