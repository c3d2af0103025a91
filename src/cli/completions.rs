//! `rekeyd completions`: what a shell needs to complete the command line.

use super::{CliError, definition, out};
use clap_complete::{Shell, generate};

/// Prints the completions of a shell.
///
/// Bash reads them from /usr/share/bash-completion/completions/rekeyd, zsh from _rekeyd in a folder of its `fpath`, fish from
/// ~/.config/fish/completions/rekeyd.fish.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let mut written = Vec::new();
    generate(args.shell, &mut definition(), "rekeyd", &mut written);
    out::line(String::from_utf8(written).map_err(CliError::failed)?.trim_end());
    Ok(())
}
