//! `rekeyd man`: the manual pages, made of what `--help` says.

use super::{CliError, definition, out};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Prints the manual page rekeyd(1), or writes one page for each command.
///
/// `rekeyd man | man -l -` shows it. Pages are made of the same definitions as --help, and say the same.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write them to: rekeyd.1, rekeyd-run.1 and so on. It is made where it is missing.
    dir: Option<PathBuf>,
}

/// Between the titles of what stands below the options and their rows, and between the columns of a row.
const COLUMNS: &str = "  ";

pub(super) fn run(args: &Args) -> Result<(), CliError> {
    let mut command = definition().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        let page = String::from_utf8(page(&command, None)?).map_err(CliError::failed)?;
        out::line(page.trim_end());
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(|error| unwritten(dir, &error))?;
    write(&command, None, dir)
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &Command, above: Option<&Command>, dir: &Path) -> Result<(), CliError> {
    let file = dir.join(format!("{}.1", name(command)));
    std::fs::write(&file, page(command, above)?).map_err(|error| unwritten(&file, &error))?;
    command.get_subcommands().try_for_each(|below| write(below, Some(command), dir))
}

fn unwritten(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("{}: {error}", path.display()))
}

/// The library's sections but EXTRA, which would hold what stands below the options as one paragraph, and VERSION, which
/// is in the foot. The title is our own: the library loses an empty date, and then all that follows is in a wrong place.
/// There is no date, so that the same source makes the same page on any day.
fn page(command: &Command, above: Option<&Command>) -> Result<Vec<u8>, CliError> {
    let mut written = Vec::new();
    let man = Man::new(command.clone());
    let mut library = || {
        writeln!(written, r#".TH {} 1 "" "rekeyd {}" "rekeyd""#, name(command), env!("CARGO_PKG_VERSION"))?;
        man.render_name_section(&mut written)?;
        man.render_synopsis_section(&mut written)?;
        man.render_description_section(&mut written)?;
        man.render_options_section(&mut written)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut written)?;
        }
        own(command, above).to_writer(&mut written)
    };
    library().map_err(CliError::failed)?;
    Ok(written)
}

/// A section for each title that stands below the options of a command, and where else to look.
fn own(command: &Command, above: Option<&Command>) -> Roff {
    let mut roff = Roff::new();
    let below = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    for line in below.lines() {
        match line.strip_prefix(COLUMNS).and_then(|row| row.split_once(COLUMNS)) {
            Some((word, meaning)) => {
                roff.control("TP", []);
                roff.text([bold(word)]);
                roff.text([roman(meaning.trim_start())]);
            }
            None if line.is_empty() => (),
            None => _ = roff.control("SH", [line.trim_end_matches(':').to_uppercase().as_str()]),
        }
    }
    // The commands below have a section already.
    if let Some(above) = above {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(name(above)), roman("(1)")]);
    }
    roff
}

/// `rekeyd-journal-export`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}
