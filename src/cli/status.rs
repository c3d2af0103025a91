//! `rekeyd status`: how every credential is.

use super::daemon::visit;
use super::{CliError, Kind, load, out};
use crate::adapters::clock::SystemClock;
use crate::config::{remembered, whole};
use crate::decide::plan;
use crate::model::home::{Home, Region};
use crate::model::key::AccountSid;
use crate::model::names::CredentialName;
use crate::model::policy::Policy;
use crate::model::reason::Breaker;
use crate::model::rotation::{Phase, State};
use crate::ports::{Clock, Row};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Shows every credential: its phase, the age of its key, the next rotation, and what it waits for.
///
/// Reads the journal only; the daemon may run or not. Exits with 5 if a human must look at a credential, or at the Main
/// key.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this credential.
    name: Option<String>,
    /// JSON for programs.
    #[arg(long)]
    json: bool,
}

/// One credential, as shown.
#[derive(Serialize)]
struct Line {
    credential: String,
    account: AccountSid,
    region: Region,
    phase: &'static str,
    in_policy: bool,
    key: Option<String>,
    key_age_seconds: Option<i64>,
    serving_since: Option<Timestamp>,
    next_rotation: Option<Timestamp>,
    next_reason: Option<&'static str>,
    waiting_for: String,
    next_look: Option<Timestamp>,
    halted: Option<HaltLine>,
    failures: Option<FailureLine>,
    rotation: Option<RotationLine>,
    strays: Vec<String>,
    unsettled_creates: usize,
    rotations_completed: u64,
    journal_entries: u64,
}

#[derive(Serialize)]
struct HaltLine {
    reason: &'static str,
    detail: String,
    since: Timestamp,
    hint: &'static str,
}

#[derive(Serialize)]
struct FailureLine {
    step: &'static str,
    fault: &'static str,
    detail: String,
    in_a_row: u32,
    last: Timestamp,
}

#[derive(Serialize)]
struct RotationLine {
    attempt: String,
    reason: &'static str,
    started: Timestamp,
    phase_since: Timestamp,
    successor: Option<String>,
    predecessors: Vec<String>,
    places: BTreeMap<String, &'static str>,
}

#[derive(Serialize)]
struct Report {
    instance: String,
    daemon_running: bool,
    halted: usize,
    breakers: Vec<BreakerLine>,
    credentials: Vec<Line>,
}

#[derive(Serialize)]
struct BreakerLine {
    account: AccountSid,
    region: Region,
    breaker: &'static str,
    meaning: &'static str,
}

pub(super) async fn run(config: &Path, args: &Args) -> Result<(), CliError> {
    let policy = whole(&load(config)?.policy, None).policy;
    let (journal, daemon_running) = visit(&policy).await?;
    let rows = journal.rows().await.map_err(CliError::journal)?;
    // Who has left a fleet is never looked at again.
    let followed = rows.iter().filter(|row| row.wake.is_some() || row.state.halted.is_some());
    let policy = remembered(&policy, followed.map(|row| (&row.name, &row.home, &row.state)));
    let breakers = journal.breakers().await.map_err(CliError::journal)?;
    let mut rows: BTreeMap<CredentialName, Row> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
    for rules in policy.credentials.values() {
        rows.entry(rules.name.clone()).or_insert_with(|| untouched(rules));
    }
    if let Some(name) = &args.name {
        rows.retain(|known, _| known.as_str() == name);
        if rows.is_empty() {
            return Err(CliError::new(Kind::Failed, format!("neither the policy nor the journal knows `{name}`")));
        }
    }
    let now = SystemClock::new().wall();
    let credentials: Vec<Line> = rows.values().map(|row| line(&policy, row, now)).collect();
    let halted = credentials.iter().filter(|line| line.halted.is_some()).count();
    let refused = breakers.iter().any(|(_, breaker)| *breaker == Breaker::MainKeyRefused);
    let breakers = breakers.into_iter().map(|(home, breaker)| BreakerLine {
        account: home.account,
        region: home.region,
        breaker: breaker.word(),
        meaning: breaker.meaning(),
    });
    let instance = policy.instance.to_string();
    let report = Report { instance, daemon_running, halted, breakers: breakers.collect(), credentials };
    if args.json {
        let text = serde_json::to_string_pretty(&report);
        out::line(&text.map_err(CliError::failed)?);
    } else {
        show(&report, now);
    }
    if halted > 0 || refused { Err(CliError::silent(Kind::Halted)) } else { Ok(()) }
}

/// A credential of the policy that the daemon has not seen yet.
fn untouched(rules: &crate::model::policy::Rules) -> Row {
    Row {
        name: rules.name.clone(),
        home: rules.home.clone(),
        seq: 0,
        state: State::default(),
        wake: None,
        waiting: "the daemon has not seen it yet".into(),
    }
}

fn line(policy: &Policy, row: &Row, now: Timestamp) -> Line {
    let (state, rules) = (&row.state, policy.credentials.get(&row.name));
    let current = state.current.as_ref();
    let due = rules.filter(|_| state.halted.is_none()).map(|rules| plan::due(state, rules, now));
    let failures = state.trouble.as_ref().map(|trouble| FailureLine {
        step: trouble.step.word(),
        fault: trouble.failure.fault.word(),
        detail: trouble.failure.detail.clone(),
        in_a_row: trouble.count,
        last: trouble.at.wall,
    });
    let halted = state.halted.as_ref().map(|halted| HaltLine {
        reason: halted.halt.word(),
        detail: halted.detail.clone(),
        since: halted.at,
        hint: halted.halt.hint(),
    });
    Line {
        credential: row.name.to_string(),
        account: row.home.account.clone(),
        region: row.home.region.clone(),
        phase: state.word(),
        in_policy: rules.is_some(),
        key: current.map(|current| current.sid.to_string()),
        key_age_seconds: current.map(|c| now.as_second() - c.created_at.unwrap_or(c.since).as_second()),
        serving_since: current.map(|current| current.since),
        next_rotation: due.map(|due| due.at),
        next_reason: due.map(|due| due.reason.words()),
        waiting_for: waiting_for(row),
        next_look: row.wake,
        halted,
        failures,
        rotation: rotation(state),
        strays: state.strays.iter().map(|stray| stray.sid.to_string()).collect(),
        unsettled_creates: state.unsettled.len(),
        rotations_completed: state.completed,
        journal_entries: row.seq,
    }
}

/// What it waits for. While a task works on it, the journal's own words are those of the wait before; what fails is told
/// in any case.
pub(super) fn waiting_for(row: &Row) -> String {
    let working = match row.state.phase() {
        Some(Phase::Issuing) => Some("Twilio is asked for a new key"),
        Some(Phase::Verifying) => Some("the new key must be accepted often enough"),
        Some(Phase::Publishing) => Some("the new pair is written to the sinks"),
        Some(Phase::Confirming) => Some("every sink is read back, and what it serves is tried"),
        // How far the rollouts are is what the journal has.
        Some(Phase::Restarting | Phase::Grace | Phase::Revoking) | None => None,
    };
    match (&row.state.trouble, working) {
        (Some(trouble), _) => trouble.to_string(),
        (None, Some(working)) => working.to_owned(),
        (None, None) => row.waiting.clone(),
    }
}

fn rotation(state: &State) -> Option<RotationLine> {
    let rotation = state.rotation.as_ref()?;
    let place = |target: &crate::model::rotation::Target| match (&target.written, target.asked) {
        (Some(_), _) => "written",
        (None, true) => "being written",
        (None, false) => "to be written",
    };
    let places = rotation.targets.iter().map(|(at, target)| (at.to_string(), place(target)));
    Some(RotationLine {
        attempt: rotation.attempt.to_string(),
        reason: rotation.reason.words(),
        started: rotation.started.wall,
        phase_since: rotation.since.wall,
        successor: rotation.successor.as_ref().map(ToString::to_string),
        predecessors: rotation.predecessors.iter().map(ToString::to_string).collect(),
        places: places.collect(),
    })
}

fn show(report: &Report, now: Timestamp) {
    let mut table = out::table(["CREDENTIAL", "PHASE", "KEY", "AGE", "NEXT ROTATION", "WAITING FOR"]);
    for line in &report.credentials {
        let next = line.next_rotation.map_or("-".to_owned(), |at| until(at, now));
        let waiting = match &line.halted {
            Some(halted) => format!("a human ({}): {}", halted.reason, halted.detail),
            None => line.waiting_for.clone(),
        };
        let key = line.key.clone().unwrap_or_else(|| "-".into());
        let key = if line.region == Region::us1() { key } else { format!("{key} in {}", line.region) };
        let age = line.key_age_seconds.map_or("-".to_owned(), |s| span(s.unsigned_abs()));
        table.add_row([line.credential.clone(), line.phase.to_owned(), key, age, next, waiting]);
    }
    out::line(&table.trim_fmt());
    for line in &report.credentials {
        if let Some(halted) = &line.halted {
            out::error(&format!("hint: {}: {}", line.credential, halted.hint.replace("NAME", &line.credential)));
        }
    }
    for BreakerLine { account, region, breaker, meaning } in &report.breakers {
        let home = Home { account: account.clone(), region: region.clone() };
        out::error(&format!("breaker open in {home}: {breaker}: {meaning}"));
    }
    if !report.daemon_running {
        out::error("note: no daemon has this journal open; nothing moves until `rekeyd run` is started");
    }
}

fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.as_second() - now.as_second();
    if left <= 0 { "now".to_owned() } else { format!("in {}", span(left.unsigned_abs())) }
}

/// Two units are enough for people: "29d 23h".
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}
