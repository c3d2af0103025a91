//! Metrics: a fold over events, so that no counter is touched anywhere else. What describes a state is set from the
//! journal at the start, and is therefore right after a restart.
//!
//! Label values come from the policy or from closed lists, never from an error's text. Accounts appear as a short hash.

mod main_keys;
mod served;

use crate::decide::plan;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::names::CredentialName;
use crate::model::policy::Policy;
use crate::model::reason::{Breaker, Halt};
use crate::model::rotation::State;
use crate::ports::{Call, Observer, Served};
use jiff::Timestamp;
use main_keys::MainKeys;
pub use main_keys::signs_in_with;
use prometheus::core::Collector;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// All metrics of the daemon.
pub struct Metrics {
    policy: Arc<Policy>,
    registry: Registry,
    rotations: IntCounterVec,
    failures: IntCounterVec,
    stages: HistogramVec,
    calls: IntCounterVec,
    call_times: HistogramVec,
    breakers: IntGaugeVec,
    unexplained: IntGaugeVec,
    main_keys: MainKeys,
    lines: Mutex<BTreeMap<CredentialName, Line>>,
    places: served::Places,
    lost_lines: IntGaugeVec,
    count_lost: fn() -> u64,
}

/// What is kept of each credential: small, for there may be ten thousand.
#[derive(Clone, Copy)]
struct Line {
    word: &'static str,
    created: Option<i64>,
    since: Option<i64>,
    next: Option<i64>,
    halt: Option<Halt>,
    strays: usize,
    failures: u32,
}

/// Seconds: a call, a verification, a grace period and a rotation are all told apart.
const STAGES: [f64; 12] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0];
const CALLS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Metrics {
    /// Registers everything; series of closed lists start at zero.
    /// `count_lost` tells how many lines of the log were lost.
    pub fn new(policy: Arc<Policy>, count_lost: fn() -> u64) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter =
            |name, help, labels: &[&str]| register(&registry, IntCounterVec::new(Opts::new(name, help), labels));
        let gauge = |name, help, labels: &[&str]| register(&registry, IntGaugeVec::new(Opts::new(name, help), labels));
        let histogram = |name, help, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, HistogramVec::new(options, labels))
        };
        let metrics = Self {
            rotations: counter("rekeyd_rotations_total", "Rotations by outcome.", &["outcome"])?,
            failures: counter("rekeyd_failures_total", "Failed steps, by step and fault.", &["step", "fault"])?,
            stages: histogram(
                "rekeyd_stage_duration_seconds",
                "How long rotations spent in each phase.",
                &["phase"],
                &STAGES,
            )?,
            calls: counter(
                "rekeyd_calls_total",
                "Calls to Twilio and to each sink, by operation and outcome.",
                &["peer", "operation", "outcome"],
            )?,
            call_times: histogram(
                "rekeyd_call_duration_seconds",
                "How long calls to Twilio and to each sink took.",
                &["peer", "operation"],
                &CALLS,
            )?,
            breakers: gauge(
                "rekeyd_breaker_open",
                "1 while a breaker stops creates and deletes in an account, in one region.",
                &["account", "region", "breaker"],
            )?,
            unexplained: gauge(
                "rekeyd_unexplained_keys",
                "Keys that carry a label of ours and can not be told from copies; they are left alone.",
                &["account", "region"],
            )?,
            main_keys: MainKeys::new(&registry)?,
            lost_lines: gauge(
                "rekeyd_log_lines_lost",
                "Lines of the log that were dropped since the start because nobody read them.",
                &[],
            )?,
            count_lost,
            lines: Mutex::default(),
            places: served::Places::default(),
            policy,
            registry: registry.clone(),
        };
        let info = gauge("rekeyd_build_info", "Always 1; the version is a label.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for home in metrics.policy.delete_budgets().into_keys() {
            for breaker in Breaker::ALL {
                metrics.breakers.with_label_values(&[
                    &short(home.account.as_str()),
                    home.region.as_str(),
                    breaker.word(),
                ]);
            }
        }
        for outcome in OUTCOMES {
            metrics.rotations.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// The text form (Prometheus exposition format 0.0.4). Families of many series are made one at a time, so that a
    /// scrape of ten thousand credentials does not hold them all at once.
    pub fn render(&self, now: Timestamp) -> Result<String, prometheus::Error> {
        let lost = (self.count_lost)();
        self.lost_lines.with_label_values::<&str>(&[]).set(i64::try_from(lost).unwrap_or(i64::MAX));
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.as_second();
        for family in FAMILIES {
            let metrics = lines.iter().filter_map(|(name, line)| (family.value)(name, line, now)).collect();
            write(&mut text, family.name, family.help, metrics)?;
        }
        drop(lines);
        for family in served::FAMILIES {
            write(&mut text, family.name, family.help, self.places.metrics(&self.policy, family.value))?;
        }
        Ok(text)
    }

    fn keep(&self, name: &CredentialName, state: &State) {
        let next = self.policy.credentials.get(name).filter(|_| state.halted.is_none()).map(|rules| {
            let now = state.current.as_ref().map_or(Timestamp::UNIX_EPOCH, |current| current.since);
            plan::due(state, rules, now).at.as_second()
        });
        let current = state.current.as_ref();
        let line = Line {
            word: state.word(),
            created: current.and_then(|current| current.created_at).map(Timestamp::as_second),
            since: current.map(|current| current.since.as_second()),
            next: next.filter(|_| current.is_some()),
            halt: state.halted.as_ref().map(|halted| halted.halt),
            strays: state.strays.len(),
            failures: state.trouble.as_ref().map_or(0, |trouble| trouble.count),
        };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), line);
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Writes one family; nothing if it has no series.
fn write(text: &mut String, name: &str, help: &str, metrics: Vec<Metric>) -> Result<(), prometheus::Error> {
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

const OUTCOMES: [&str; 5] = ["completed", "abandoned", "refused", "unsettled", "halted"];

/// A family with one series per credential, or none where there is nothing to say.
struct Family {
    name: &'static str,
    help: &'static str,
    value: fn(&CredentialName, &Line, i64) -> Option<Metric>,
}

const FAMILIES: [Family; 8] = [
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

fn metric(name: &CredentialName, label: Option<(&str, &str)>, value: f64) -> Metric {
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

/// A short name for an account, or a key, that tells it from others and not which it is.
fn short(sid: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sid.as_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Observer for Metrics {
    fn recorded(&self, name: &CredentialName, before: &State, entry: &Entry, after: &State) {
        if let Some((step, failure)) = entry.event.failure() {
            self.failures.with_label_values(&[step.word(), failure.fault.word()]).inc();
        }
        let outcome = match &entry.event {
            Event::Completed => Some("completed"),
            Event::Abandoned { .. } => Some("abandoned"),
            Event::CreateRefused { .. } => Some("refused"),
            Event::Unsettled | Event::Ambiguous { .. } => Some("unsettled"),
            Event::Halted { .. } => Some("halted"),
            Event::Adopted { .. }
            | Event::Requested { .. }
            | Event::Intended(_)
            | Event::Created { .. }
            | Event::Verified { .. }
            | Event::Publishing { .. }
            | Event::Written { .. }
            | Event::Rebased { .. }
            | Event::Widened { .. }
            | Event::Published { .. }
            | Event::Condemned { .. }
            | Event::Revoked { .. }
            | Event::Found { .. }
            | Event::Fencing { .. }
            | Event::Fenced { .. }
            | Event::Revived { .. }
            | Event::Removed { .. }
            | Event::Missing { .. }
            | Event::Failed { .. }
            | Event::Recovered
            | Event::Resumed { .. } => None,
        };
        if let Some(outcome) = outcome {
            self.rotations.with_label_values(&[outcome]).inc();
        }
        if let Some(rotation) = before.rotation.as_ref().filter(|rotation| Some(rotation.phase) != after.phase()) {
            let spent = entry.at.uptime.since(rotation.since.uptime);
            self.stages.with_label_values(&[rotation.phase.word()]).observe(spent.as_secs_f64());
        }
        self.keep(name, after);
    }

    fn released(&self, name: &CredentialName, state: &State, _wake: Option<Timestamp>, _waiting: &str) {
        self.keep(name, state);
    }

    fn called(&self, call: Call<'_>) {
        self.calls.with_label_values(&[call.peer, call.operation, call.outcome]).inc();
        self.call_times.with_label_values(&[call.peer, call.operation]).observe(call.took.as_secs_f64());
    }

    fn breaker(&self, home: &Home, breaker: Breaker, open: bool) {
        let labels = [&short(home.account.as_str()), home.region.as_str(), breaker.word()];
        self.breakers.with_label_values(&labels).set(i64::from(open));
    }

    fn unexplained(&self, home: &Home, keys: usize) {
        let labels = [&short(home.account.as_str()), home.region.as_str()];
        self.unexplained.with_label_values(&labels).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    fn main_key(&self, home: &Home, key: &KeySid, created: Option<Timestamp>) {
        self.main_keys.note(home, key, created);
    }

    fn served(&self, name: &CredentialName, served: Served<'_>) {
        self.places.note(&self.policy, name, served);
    }
}
