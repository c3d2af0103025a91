//! `rekeyd plan`: what would happen, why, and when. It never builds an engine, so it cannot change anything.

use super::assemble::{Doors, Purpose, doors};
use super::daemon::visit;
use super::fleets::asked;
use super::status::{span, waiting_for};
use super::{CliError, Kind, load, out};
use crate::decide::{Hand, Sight, Step, View, Weather, plan, step};
use crate::model::event::Event;
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, KeySid};
use crate::model::names::{CredentialName, Place, SinkName};
use crate::model::permission::{Permission, Permissions, difference};
use crate::model::policy::{Allow, KeyKind, Policy, Rules, StateUrl};
use crate::model::reason::Reason;
use crate::model::rotation::{Current, Phase, State};
use crate::model::time::{Moment, Uptime};
use crate::ports::Row;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Shows what the daemon would do next for every credential, why, and when; changes nothing.
///
/// Reads the journal, lists the keys of each account and reads every sink. Exits with 6 if one of them did not answer,
/// and with 5 if something would halt.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// JSON for programs.
    #[arg(long)]
    json: bool,
}

/// What would happen to one credential.
#[derive(Serialize)]
struct Line {
    credential: String,
    next: &'static str,
    why: String,
    due: Option<Timestamp>,
    reason: Option<&'static str>,
    /// The steps of the rotation that is under way or comes next, in order.
    rotation: Vec<String>,
    places: BTreeMap<String, String>,
}

/// What an account shows.
#[derive(Serialize)]
struct AccountLine {
    account: AccountSid,
    region: Region,
    keys: Option<usize>,
    ours: usize,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Report {
    accounts: Vec<AccountLine>,
    credentials: Vec<Line>,
}

/// How many places are read, and accounts listed, at the same time.
const AT_ONCE: usize = 16;

pub(super) async fn run(config: &Path, args: Args) -> Result<(), CliError> {
    let policy = asked(&load(config)?.policy).await?;
    let doors = doors(&policy, Purpose::Look).await?;
    let known = known(&policy).await?;
    let accounts = accounts(&policy, &doors, &known.rows).await;
    let now = Moment { wall: doors.clock.wall(), uptime: known.uptime, twilio: None };
    let names: Vec<&Rules> = policy.credentials.values().collect();
    let lines = stream::iter(names).map(|rules| line(&policy, &doors, rules, &known, now));
    let credentials: Vec<Line> = lines.buffered(AT_ONCE).collect().await;
    let report = Report { accounts, credentials };
    if args.json {
        let text = serde_json::to_string_pretty(&report);
        out::line(&text.map_err(CliError::failed)?);
    } else {
        show(&report, now.wall);
    }
    let silent = report.accounts.iter().any(|account| account.problem.is_some());
    let unread = report.credentials.iter().any(|line| line.next == "unknown");
    if silent || unread {
        return Err(CliError::silent(Kind::Unreachable));
    }
    let halts = report.credentials.iter().any(|line| matches!(line.next, "halt" | "halted"));
    if halts { Err(CliError::silent(Kind::Halted)) } else { Ok(()) }
}

/// What the journal knows; nothing if there is no journal yet.
struct Known {
    rows: BTreeMap<CredentialName, Row>,
    /// The running time as last noted: behind the daemon's own by half a minute at most.
    uptime: Uptime,
    /// A daemon has it open.
    running: bool,
}

async fn known(policy: &Policy) -> Result<Known, CliError> {
    if matches!(&policy.state, StateUrl::Sqlite(path) if !path.exists()) {
        return Ok(Known { rows: BTreeMap::new(), uptime: Uptime(0), running: false });
    }
    let (journal, running) = visit(policy).await?;
    let rows = journal.rows().await.map_err(CliError::journal)?;
    let rows = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
    Ok(Known { rows, uptime: journal.uptime(Duration::ZERO), running })
}

async fn accounts(policy: &Policy, doors: &Doors, rows: &BTreeMap<CredentialName, Row>) -> Vec<AccountLine> {
    let known: BTreeSet<_> = rows.values().flat_map(|row| row.state.keys().cloned()).collect();
    let known = &known;
    let line = |home: Home| async move {
        let listed = doors.issuer.list(&home).await.answer();
        let ours = listed.as_ref().map_or(0, |keys| keys.iter().filter(|key| known.contains(&key.sid)).count());
        let keys = listed.as_ref().ok().map(Vec::len);
        let problem = listed.err().map(|failure| failure.to_string());
        let Home { account, region } = home;
        AccountLine { account, region, keys, ours, problem }
    };
    stream::iter(policy.delete_budgets().into_keys()).map(line).buffered(AT_ONCE).collect().await
}

async fn line(policy: &Policy, doors: &Doors, rules: &Rules, known: &Known, now: Moment) -> Line {
    let row = known.rows.get(&rules.name);
    let empty = State::default();
    let (state, seq) = row.map_or((&empty, 0), |row| (&row.state, row.seq));
    let (sight, places, problem) = look(doors, rules, state, now.uptime).await;
    let due = plan::due(state, rules, now.wall);
    let in_hand = known.running && state.phase().is_some_and(|phase| phase < Phase::Confirming);
    let (next, why) = match (problem, row) {
        // The secret of the new key is in the daemon's memory, where we can not look.
        (None, Some(row)) if in_hand => ("go on", format!("the daemon is at it: {}", waiting_for(row))),
        (None, _) => words(&decide(policy, doors, rules, state, seq, now, &sight)),
        (Some(problem), _) => ("unknown", problem),
    };
    let halted = state.halted.as_ref();
    let (next, why) = match halted {
        Some(halted) => ("halted", format!("{}: {}", halted.halt.word(), halted.detail)),
        None => (next, why),
    };
    let halted = halted.is_some();
    Line {
        credential: rules.name.to_string(),
        next,
        why,
        due: (!halted).then_some(due.at),
        reason: (!halted).then(|| due.reason.words()),
        rotation: steps(rules, state, due.reason),
        places,
    }
}

/// The rotation that is under way or comes next, from here to its end.
fn steps(rules: &Rules, state: &State, reason: Reason) -> Vec<String> {
    let list =
        |places: &mut dyn Iterator<Item = &Place>| places.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let grace = span(rules.grace.as_secs());
    let mut steps: Vec<String> = state.strays.iter().map(|stray| format!("delete {}, a stray", stray.sid)).collect();
    let mut old: Vec<&KeySid> = state.leftovers.iter().collect();
    let token = rules.kind.is_token().then(|| KeySid::first_token(&rules.home.account));
    let current = state.current.as_ref();
    let rotation = state.rotation.as_ref();
    match rotation.and_then(|rotation| Some((rotation, rotation.successor.as_ref()?))) {
        Some((rotation, successor)) => {
            let unwritten = rotation.targets.iter().filter(|(_, target)| target.written.is_none());
            let places = list(&mut unwritten.map(|(place, _)| place));
            if !places.is_empty() {
                steps.push(format!("publish {successor} to {places}"));
            }
            old.extend(&rotation.predecessors);
        }
        None if reason == Reason::Widened && rotation.is_none() => {
            steps.push(format!("publish the current key to {} as well", list(&mut plan::added(state, rules))));
        }
        None => {
            let adopted = rules.adopt.as_ref().or(token.as_ref()).filter(|_| current.is_none());
            steps.extend(adopted.map(|sid| format!("adopt {sid}, made by hand")));
            steps.push(format!("create {} and prove it", made(rules, current)));
            steps.push(format!("publish it to {}", list(&mut rules.places.iter())));
            old.extend(rotation.iter().flat_map(|rotation| &rotation.predecessors));
            let served = current.filter(|current| !current.gone).map(|current| &current.sid);
            old.extend(served.or(adopted).filter(|sid| !rotation.is_some_and(|r| r.predecessors.contains(sid))));
        }
    }
    let after = format!("no sooner than {grace} after every place serves the new one");
    let end = |sid: &&KeySid| match sid.is_auth_token() {
        true => format!("promote the new token, which ends {sid}, {after}"),
        false => format!("delete {sid}, {after}"),
    };
    steps.extend(old.iter().map(end));
    steps
}

/// The key that will be made, and how what it may do differs from what the present one may.
fn made(rules: &Rules, current: Option<&Current>) -> String {
    let has = current.and_then(|current| current.permissions.as_ref());
    let list = |these: &Permissions| these.iter().map(Permission::as_str).collect::<Vec<_>>().join(", ");
    match (&rules.kind, has) {
        (KeyKind::KeyPair, _) => "a key pair".to_owned(),
        (KeyKind::AuthToken { .. }, _) => "a secondary auth token".to_owned(),
        (KeyKind::Standard, None) => "a key".to_owned(),
        (KeyKind::Standard, Some(has)) => {
            format!("an ordinary key, which may do everything, in place of one that may do {}", list(has))
        }
        (KeyKind::Restricted(Allow::LikeKey(sid)), _) => format!("a Restricted key that may do what {sid} may"),
        (KeyKind::Restricted(Allow::These(these)), None) => format!("a Restricted key that may do {}", list(these)),
        (KeyKind::Restricted(Allow::These(these)), Some(has)) => match difference(has, these) {
            (more, less) if more.is_empty() && less.is_empty() => "a Restricted key that may do the same".to_owned(),
            (more, less) if less.is_empty() => format!("a Restricted key that may do {} as well", list(&more)),
            (more, less) if more.is_empty() => format!("a Restricted key that may no longer do {}", list(&less)),
            (more, less) => format!("a Restricted key that may do {}, and no longer {}", list(&more), list(&less)),
        },
    }
}

/// Reads every place, as the daemon would before an intent.
async fn look(
    doors: &Doors,
    rules: &Rules,
    state: &State,
    at: Uptime,
) -> (Sight, BTreeMap<String, String>, Option<String>) {
    let names = state.names(&rules.members);
    let mut sight = Sight::default();
    let (mut places, mut problem) = (BTreeMap::new(), None);
    let current = state.current.iter().flat_map(|current| current.places.keys());
    let all: BTreeSet<&Place> = rules.places.iter().chain(current).collect();
    for place in all {
        let Some(sink) = doors.sinks.get(&place.sink) else { continue };
        match sink.read(place, &names, None).await.answer() {
            Ok(reading) => {
                let served = reading.seen.content.sid().map_or("no key".to_owned(), ToString::to_string);
                places.insert(place.to_string(), served);
                sight.places.insert(place.clone(), (reading.seen, at));
            }
            Err(failure) => {
                places.insert(place.to_string(), failure.to_string());
                problem.get_or_insert_with(|| format!("{place}: {failure}"));
            }
        }
    }
    (sight, places, problem)
}

fn decide(policy: &Policy, doors: &Doors, rules: &Rules, state: &State, seq: u64, now: Moment, sight: &Sight) -> Step {
    let sinks: BTreeSet<SinkName> = doors.sinks.keys().cloned().collect();
    step::step(&View {
        state,
        seq,
        rules,
        instance: &policy.instance,
        timing: &policy.timing,
        limits: &policy.limits,
        roots: &doors.issuer.roots().into_keys().collect(),
        sinks: &sinks,
        now,
        local: now.uptime,
        fresh: doors.clock.attempt(),
        hand: Hand::default(),
        sight,
        weather: &Weather::default(),
    })
}

/// A step in the words of a plan.
fn words(step: &Step) -> (&'static str, String) {
    match step {
        Step::Issue(intent) => ("create a key", intent.reason.words().to_owned()),
        Step::Wait { why, .. } => ("wait", why.clone()),
        Step::Delete { sid, .. } => ("delete a key", format!("{sid}: grace is over, every sink serves the new key")),
        Step::Fence { place, .. } => ("remove a stray", format!("{place} is fenced first")),
        Step::Publish { place, .. } => ("publish", place.to_string()),
        Step::Record(Event::Halted { halt, detail }) => ("halt", format!("{}: {detail}", halt.word())),
        Step::Record(event) => ("go on", crate::describe::describe(event)),
        Step::Fetch(sid) => ("go on", format!("ask Twilio for {sid}")),
        Step::Permissions(sid) => ("go on", format!("ask Twilio what {sid} may do")),
        Step::Find(_) => ("go on", "look for the key of a create that was not answered".to_owned()),
        Step::Look(_) | Step::Prove(_) => ("go on", "check what the sinks serve".to_owned()),
        Step::Inspect(_) => ("go on", "see how far the rollouts are".to_owned()),
        Step::Restart { workload, .. } => ("restart", workload.to_string()),
        Step::Recall(place) => ("go on", format!("read the new pair back from {place}")),
        Step::Probe | Step::Drop => ("go on", "prove the new key".to_owned()),
    }
}

fn show(report: &Report, now: Timestamp) {
    for account in &report.accounts {
        let home = Home { account: account.account.clone(), region: account.region.clone() };
        match (&account.problem, account.keys) {
            (None, Some(keys)) => {
                let foreign = keys.saturating_sub(account.ours);
                out::line(&format!(
                    "account {home}: {keys} keys, {} ours, {foreign} not ours and left alone",
                    account.ours
                ));
            }
            (problem, _) => out::line(&format!(
                "account {home}: the keys can not be listed: {}",
                problem.as_deref().unwrap_or("no answer")
            )),
        }
    }
    let mut table = out::table(["CREDENTIAL", "NEXT", "WHY", "ROTATION DUE"]);
    for line in &report.credentials {
        let due = line.due.map_or("-".to_owned(), |at| {
            let left = at.as_second() - now.as_second();
            if left <= 0 { "now".to_owned() } else { format!("in {}", span(left.unsigned_abs())) }
        });
        table.add_row([line.credential.clone(), line.next.to_owned(), line.why.clone(), due]);
    }
    out::line(&table.trim_fmt());
    for line in &report.credentials {
        out::line(&format!("\n{}:", line.credential));
        line.rotation.iter().enumerate().for_each(|(n, step)| out::line(&format!("  {}. {step}", n + 1)));
    }
    out::line("\nnothing was changed");
}
