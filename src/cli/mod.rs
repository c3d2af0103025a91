//! The command line: one file per command. Here are the words they share: arguments, errors with hints, exit codes.

mod assemble;
mod check;
mod completions;
mod daemon;
mod demo;
mod fleets;
mod history;
mod iam_policy;
mod journal;
mod main_key;
mod man;
mod online;
#[cfg(debug_assertions)]
mod ordeal;
mod out;
mod plan;
mod probe;
mod request;
mod run;
mod sandbox;
mod schema;
mod service;
mod sources;
mod status;
mod stored;
mod subaccount;
mod vault_policy;

use crate::config::{self, Loaded};
use crate::hardening::harden;
use crate::telemetry;
use clap::{CommandFactory as _, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// What `--help` says below the options, and the manual page in sections of their own: titles, and rows of two columns.
const BELOW: &str = "\
Exit status:
  0  all is well
  1  it failed
  2  the command line is wrong
  3  the policy is wrong
  4  the journal can not be used
  5  a human must look at a credential or the Main key
  6  Twilio or a sink can not be reached

Files:
  /etc/rekeyd/policy.toml     the policy, unless --config names another
  /var/lib/rekeyd/journal.db  the journal, unless `state` in the policy names another

Environment:
  REKEYD_CONFIG  the policy, where --config is not given
  REKEYD_LOG     how much is logged, where --log is not given
  AWS_*          how to sign in at Secrets Manager, as for every program of AWS
  others         those that the policy names, in keys that end in `_env`
";

/// Rotates Twilio API keys: creates, proves, publishes to Vault, AWS Secrets Manager, Kubernetes and directories, waits out a grace
/// period, deletes the old key.
#[derive(Debug, Parser)]
#[command(name = "rekeyd", version, max_term_width = 100, after_long_help = BELOW)]
pub struct Args {
    /// The policy file.
    #[arg(long, global = true, env = "REKEYD_CONFIG", default_value = "/etc/rekeyd/policy.toml", value_name = "FILE")]
    config: PathBuf,
    /// How much is logged to standard error: error, warn, info, debug, trace.
    #[arg(long, global = true, env = "REKEYD_LOG", default_value = "info", value_name = "LEVEL")]
    log: LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Plan(plan::Args),
    Status(status::Args),
    Rotate(request::RotateArgs),
    Resume(request::ResumeArgs),
    History(history::Args),
    Journal(journal::Args),
    MainKey(main_key::Args),
    Subaccount(subaccount::Args),
    VaultPolicy(vault_policy::Args),
    IamPolicy(iam_policy::Args),
    Sandbox(sandbox::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
    Schema(schema::Args),
}

/// What kind of failure it was: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Failed = 1,
    Policy = 3,
    Journal = 4,
    Halted = 5,
    Unreachable = 6,
}

/// A failure with its cause and what could be done about it.
#[derive(Debug)]
struct CliError {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    /// A failure that was told already, or whose exit code says it all.
    fn silent(kind: Kind) -> Self {
        Self::new(kind, "")
    }

    /// A failure of no special kind.
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }

    /// A failure of the journal.
    fn journal(error: impl std::fmt::Display) -> Self {
        Self::new(Kind::Journal, error.to_string())
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // Before anything is read, whatever the command: most of them come to hold a secret.
    if let Err(error) = harden() {
        out::error(&format!("error: core files and ptrace could not be turned off: {error}"));
        return ExitCode::from(Kind::Failed as u8);
    }
    let args = Args::parse();
    telemetry::quiet_panics();
    let runtime = match threads(&args.command).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::error(&format!("error: no runtime: {error}"));
            return ExitCode::from(Kind::Failed as u8);
        }
    };
    let ended = runtime.block_on(execute(args));
    // A call that is stuck in a library's own thread must not hold the exit.
    runtime.shutdown_background();
    telemetry::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                out::error(&format!("error: {}", error.message));
            }
            error.hints.iter().for_each(|hint| out::error(&format!("hint: {hint}")));
            ExitCode::from(error.kind as u8)
        }
    }
}

/// The daemon waits for others nearly all of the time: one thread does all that needs none of its own. Several would wake
/// each other for every answer, and each would keep memory that the others can not use again.
fn threads(command: &Command) -> tokio::runtime::Builder {
    match command {
        Command::Run(_) => tokio::runtime::Builder::new_current_thread(),
        Command::Check(_)
        | Command::Plan(_)
        | Command::Status(_)
        | Command::Rotate(_)
        | Command::Resume(_)
        | Command::History(_)
        | Command::Journal(_)
        | Command::MainKey(_)
        | Command::Subaccount(_)
        | Command::VaultPolicy(_)
        | Command::IamPolicy(_)
        | Command::Sandbox(_)
        | Command::Demo(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Schema(_) => tokio::runtime::Builder::new_multi_thread(),
    }
}

async fn execute(args: Args) -> Result<(), CliError> {
    let Args { config, log, command } = args;
    match command {
        Command::Run(args) => {
            telemetry::start(log);
            run::run(&config, args).await
        }
        Command::Check(args) => check::run(&config, &args).await,
        Command::Plan(args) => plan::run(&config, args).await,
        Command::Status(args) => status::run(&config, &args).await,
        Command::Rotate(args) => request::rotate(&config, args).await,
        Command::Resume(args) => request::resume(&config, args).await,
        Command::History(args) => history::run(&config, args).await,
        Command::Journal(args) => journal::run(&config, args).await,
        Command::MainKey(args) => main_key::run(&config, args).await,
        Command::Subaccount(args) => subaccount::run(&config, args).await,
        Command::VaultPolicy(args) => vault_policy::run(&config, &args),
        Command::IamPolicy(args) => iam_policy::run(&config, &args),
        Command::Sandbox(args) => {
            telemetry::start(log);
            sandbox::run(args).await
        }
        Command::Demo(args) => demo::run(args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Schema(args) => {
            schema::run(&args);
            Ok(())
        }
    }
}

/// The whole command line, for what is made of it.
fn definition() -> clap::Command {
    Args::command()
}

/// Reads the policy; every fault of it is shown at once.
fn load(path: &std::path::Path) -> Result<Loaded, CliError> {
    config::load(path).map_err(|errors| {
        let error =
            CliError::new(Kind::Policy, format!("the policy is not accepted\n\n{}", errors.render(out::styled())));
        if path.exists() {
            error
        } else {
            error.hint("name the policy with --config FILE or in REKEYD_CONFIG; `rekeyd demo` needs none")
        }
    })
}
