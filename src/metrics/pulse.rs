//! Whether the daemon works at all, and how often it looks at things by its policy.

use super::register;
use crate::model::policy::Timing;
use jiff::Timestamp;
use prometheus::{IntGaugeVec, Opts, Registry};

/// The gauges of passes.
pub(super) struct Pulse {
    passed: IntGaugeVec,
}

impl Pulse {
    pub(super) fn new(registry: &Registry, timing: &Timing) -> Result<Self, prometheus::Error> {
        let gauge = |name, help, labels: &[&str]| register(registry, IntGaugeVec::new(Opts::new(name, help), labels));
        let interval = gauge(
            "rekeyd_interval_seconds",
            "How often the policy has things looked at, by what is looked at.",
            &["of"],
        )?;
        let Timing { tick, settle: _, sweep, reconcile, watch } = timing;
        let always = [("tick", tick), ("sweep", sweep), ("reconcile", reconcile)];
        for (of, every) in always.into_iter().chain(watch.iter().map(|every| ("watch", every))) {
            interval.with_label_values(&[of]).set(i64::try_from(every.as_secs()).unwrap_or(i64::MAX));
        }
        let passed = gauge(
            "rekeyd_last_pass_timestamp_seconds",
            "When the journal last answered a whole pass; no series before the first.",
            &[],
        )?;
        Ok(Self { passed })
    }

    pub(super) fn beat(&self, now: Timestamp) {
        self.passed.with_label_values::<&str>(&[]).set(now.as_second());
    }
}
