//! What the daemon signs in with, and since when there is such a key: only a person can replace a Main key.

use super::{register, short};
use crate::model::home::Home;
use crate::model::key::KeySid;
use jiff::Timestamp;
use prometheus::{IntGaugeVec, Opts, Registry};

const INFO: &str = "rekeyd_main_key_info";

/// A timestamp and no age: it is right however late it is read (Prometheus docs, "Instrumentation").
const CREATED: &str = "rekeyd_main_key_created_timestamp_seconds";

/// The gauges of Main keys.
pub(super) struct MainKeys {
    info: IntGaugeVec,
    created: IntGaugeVec,
}

impl MainKeys {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge =
            |name, help| register(registry, IntGaugeVec::new(Opts::new(name, help), &["account", "region", "key"]));
        Ok(Self {
            info: gauge(INFO, "Always 1; the Main keys that are signed in with.")?,
            created: gauge(CREATED, "When Twilio made the Main key; no series where Twilio does not tell.")?,
        })
    }

    pub(super) fn note(&self, home: &Home, key: &KeySid, created: Option<Timestamp>) {
        let labels = labels(home, key);
        self.info.with_label_values(&labels).set(1);
        if let Some(created) = created {
            self.created.with_label_values(&labels).set(created.as_second());
        }
    }
}

fn labels(home: &Home, key: &KeySid) -> [String; 3] {
    [short(home.account.as_str()), home.region.to_string(), short(key.as_str())]
}

/// Whether these metrics, in their text form, are of a daemon that signs in with this key.
pub fn signs_in_with(metrics: &str, home: &Home, key: &KeySid) -> bool {
    let [account, region, key] = labels(home, key);
    let series = format!("{INFO}{{account=\"{account}\",key=\"{key}\",region=\"{region}\"}} ");
    metrics.lines().any(|line| line.starts_with(&series))
}
