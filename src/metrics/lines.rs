//! What is told of each credential, and since when a rotation is due or late.

use super::Outlook;
use crate::decide::plan;
use crate::model::names::CredentialName;
use crate::model::policy::{Policy, Rules};
use crate::model::reason::Halt;
use crate::model::rotation::{Phase, State};
use crate::model::time::later;
use jiff::Timestamp;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, TextEncoder};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a rotation that is due may take before it is late: what hinders one and goes away by itself (limits per
/// hour, a breaker, waits of a quarter of an hour between tries) is over by then.
const SLACK: Duration = Duration::from_secs(2 * 3600);

/// A line for each credential.
#[derive(Default)]
pub(super) struct Lines(Mutex<BTreeMap<CredentialName, Line>>);

/// What is kept of each credential: small, for there may be ten thousand.
#[derive(Clone, Copy)]
struct Line {
    word: &'static str,
    created: Option<i64>,
    since: Option<i64>,
    next: Option<i64>,
    /// Since when it is due at once, whatever the time is.
    at_once: Option<Timestamp>,
    late: Option<i64>,
    halt: Option<Halt>,
    strays: usize,
    failures: u32,
}

impl Lines {
    /// Keeps what is to be told of a credential.
    pub(super) fn keep(&self, policy: &Policy, name: &CredentialName, state: &State, now: Timestamp) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = policy.credentials.get(name).filter(|_| state.halted.is_none());
        let due = rules.map(|rules| plan::due(state, rules, now).at);
        // What is due whenever one asks is due since it was first seen to be.
        let before = lines.get(name).and_then(|line| line.at_once);
        let at_once = due.filter(|at| *at == now).map(|at| before.unwrap_or(at));
        let due = at_once.or(due);
        // Where programs are restarted once more, because somebody wrote to a place in grace, the next rotation is not what is late.
        let restarting = state.rotation.as_ref().filter(|rotation| rotation.phase == Phase::Restarting);
        let wanted = restarting.map(|rotation| rotation.since.wall).into_iter().chain(due).min();
        let late = rules.zip(wanted).map(|(rules, at)| later(at, SLACK + hold(policy, rules)).as_second());
        let current = state.current.as_ref();
        let line = Line {
            word: state.word(),
            created: current.and_then(|current| current.created_at).map(Timestamp::as_second),
            since: current.map(|current| current.since.as_second()),
            next: due.map(Timestamp::as_second),
            at_once,
            late,
            halt: state.halted.as_ref().map(|halted| halted.halt),
            strays: state.strays.len(),
            failures: state.trouble.as_ref().map_or(0, |trouble| trouble.count),
        };
        lines.insert(name.clone(), line);
    }

    /// What they come to in a few numbers.
    pub(super) fn outlook(&self) -> Outlook {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = |word| ["new", "serving", "halted"].contains(&word);
        let soonest = lines.iter().filter_map(|(name, line)| Some((line.next?, name))).min();
        Outlook {
            credentials: lines.len(),
            rotating: lines.values().filter(|line| !resting(line.word)).count(),
            halted: lines.values().filter(|line| line.halt.is_some()).count(),
            failing: lines.values().filter(|line| line.halt.is_none() && line.failures > 0).count(),
            next: soonest.and_then(|(at, name)| Some((name.clone(), Timestamp::from_second(at).ok()?))),
        }
    }

    /// Adds the text form, one family at a time: a scrape of ten thousand credentials does not hold them all at once.
    pub(super) fn render(&self, now: Timestamp, text: &mut String) -> Result<(), Error> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.as_second();
        for family in FAMILIES {
            let metrics: Vec<Metric> =
                lines.iter().filter_map(|(name, line)| (family.value)(name, line, now)).collect();
            write(text, family.name, family.help, metrics)?;
        }
        Ok(())
    }
}

/// How long a credential may have to wait for those of its fleet that go first.
fn hold(policy: &Policy, rules: &Rules) -> Duration {
    let follows = rules.member.as_ref().filter(|member| !member.canary);
    let fleet = follows.and_then(|member| policy.fleets.iter().find(|fleet| fleet.name == member.fleet));
    fleet.map_or(Duration::ZERO, |fleet| fleet.waves.hold)
}

/// A family with one series per credential, or none where there is nothing to say.
struct Family {
    name: &'static str,
    help: &'static str,
    value: fn(&CredentialName, &Line, i64) -> Option<Metric>,
}

const FAMILIES: [Family; 9] = [
    Family {
        name: "rekeyd_credential_phase",
        help: "1 for the phase that the credential is in.",
        value: |name, line, _| Some(metric(name, Some(("phase", line.word)), 1.0)),
    },
    Family {
        name: "rekeyd_key_created_timestamp_seconds",
        help: "When Twilio made the current key.",
        value: |name, line, _| line.created.map(|at| metric(name, None, at as f64)),
    },
    Family {
        name: "rekeyd_key_age_seconds",
        help: "How old the current key is.",
        value: |name, line, now| line.created.or(line.since).map(|at| metric(name, None, (now - at) as f64)),
    },
    Family {
        name: "rekeyd_last_success_timestamp_seconds",
        help: "When every sink was last seen to serve a new key that works.",
        value: |name, line, _| line.since.map(|at| metric(name, None, at as f64)),
    },
    Family {
        name: "rekeyd_next_rotation_timestamp_seconds",
        help: "When the next rotation is due.",
        value: |name, line, _| line.next.map(|at| metric(name, None, at as f64)),
    },
    Family {
        name: "rekeyd_rotation_deadline_timestamp_seconds",
        help: "When the next rotation is late: two hours after it is due, and after the hold of its fleet.",
        value: |name, line, _| line.late.map(|at| metric(name, None, at as f64)),
    },
    Family {
        name: "rekeyd_halted",
        help: "1 while a human must look; the reason is a label.",
        value: |name, line, _| line.halt.map(|halt| metric(name, Some(("reason", halt.word())), 1.0)),
    },
    Family {
        name: "rekeyd_strays",
        help: "Keys that no rotation can use and that still have to be deleted.",
        value: |name, line, _| Some(metric(name, None, line.strays as f64)),
    },
    Family {
        name: "rekeyd_consecutive_failures",
        help: "Failures since something last succeeded.",
        value: |name, line, _| Some(metric(name, None, f64::from(line.failures))),
    },
];

/// Adds a family of gauges, if it has any.
pub(super) fn write(text: &mut String, name: &str, help: &str, metrics: Vec<Metric>) -> Result<(), Error> {
    if metrics.is_empty() {
        return Ok(());
    }
    let mut gathered = MetricFamily::default();
    gathered.set_name(name.to_owned());
    gathered.set_help(help.to_owned());
    gathered.set_field_type(MetricType::GAUGE);
    gathered.set_metric(metrics);
    TextEncoder::new().encode_utf8(&[gathered], text)
}

pub(super) fn metric(name: &CredentialName, label: Option<(&str, &str)>, value: f64) -> Metric {
    let pair = |name: &str, value: &str| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    let labels = std::iter::once(pair("credential", name.as_str())).chain(label.map(|(name, value)| pair(name, value)));
    metric.set_label(labels.collect());
    metric.set_gauge(gauge);
    metric
}
