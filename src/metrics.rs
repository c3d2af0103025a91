//! Metrics: a fold over events, so that no counter is touched anywhere else. What describes a state is set from the
//! journal at the start, and is therefore right after a restart.
//!
//! Label values come from the policy or from closed lists, never from an error's text. Accounts appear as a short hash.

mod lines;
mod main_keys;
mod outlook;
mod pulse;
mod served;

use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::names::CredentialName;
use crate::model::policy::Policy;
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::ports::{Call, Clock, Observer, Served};
use jiff::Timestamp;
use lines::Lines;
use main_keys::MainKeys;
pub use main_keys::signs_in_with;
pub use outlook::Outlook;
use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use pulse::Pulse;
use std::sync::Arc;

/// All metrics of the daemon.
pub struct Metrics {
    policy: Arc<Policy>,
    clock: Arc<dyn Clock>,
    registry: Registry,
    rotations: IntCounterVec,
    failures: IntCounterVec,
    stages: HistogramVec,
    calls: IntCounterVec,
    call_times: HistogramVec,
    breakers: IntGaugeVec,
    unexplained: IntGaugeVec,
    main_keys: MainKeys,
    pulse: Pulse,
    lines: Lines,
    places: served::Places,
    lost_lines: IntGaugeVec,
    count_lost: fn() -> u64,
}

/// Seconds: a call, a verification, a grace period and a rotation are all told apart.
const STAGES: [f64; 12] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0];
const CALLS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Metrics {
    /// Registers everything; series of closed lists start at zero.
    /// `count_lost` tells how many lines of the log were lost.
    pub fn new(policy: Arc<Policy>, clock: Arc<dyn Clock>, count_lost: fn() -> u64) -> Result<Self, prometheus::Error> {
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
            pulse: Pulse::new(&registry, &policy.timing)?,
            lines: Lines::default(),
            places: served::Places::default(),
            policy,
            clock,
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

    /// The text form (Prometheus exposition format 0.0.4).
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let lost = (self.count_lost)();
        self.lost_lines.with_label_values::<&str>(&[]).set(i64::try_from(lost).unwrap_or(i64::MAX));
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        self.lines.render(self.clock.wall(), &mut text)?;
        self.places.render(&self.policy, &mut text)?;
        Ok(text)
    }

    fn keep(&self, name: &CredentialName, state: &State) {
        let now = self.clock.wall();
        self.lines.keep(&self.policy, name, state, now);
        self.places.expect(&self.policy, name, state, now);
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

const OUTCOMES: [&str; 5] = ["completed", "abandoned", "refused", "unsettled", "halted"];

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
            | Event::Served { .. }
            | Event::Restarting { .. }
            | Event::Restarted { .. }
            | Event::RolledOut { .. }
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

    fn passed(&self) {
        self.pulse.beat(self.clock.wall());
    }

    fn served(&self, name: &CredentialName, served: Served<'_>) {
        self.places.note(&self.policy, name, served);
    }

    fn seen(&self, name: &CredentialName, state: &State) {
        self.keep(name, state);
    }
}
