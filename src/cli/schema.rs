//! `rekeyd schema`: the policy's JSON Schema, for editors.

use super::out;

/// Prints the JSON Schema of the policy (draft 2020-12), which lets editors complete and check it.
///
/// Even Better TOML and taplo take it from a first line `#:schema FILE` in the policy. It knows every key and the form of
/// values; whether they go together, only `rekeyd check` tells.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(Args {}: &Args) {
    out::line(include_str!("../../config/policy.schema.json").trim_end());
}
