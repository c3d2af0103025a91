//! The real binary while it runs: what it says, how it ends, and whether it is at rest.

use super::ground::PATIENCE;
use crate::daemon::rig::Process;
use rekeyd::model::names::CredentialName;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A daemon that runs, or ran.
pub struct Daemon {
    pub process: Process,
    pub log: PathBuf,
}

impl Daemon {
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, for whoever reads of a failure.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// The lines of its log that hold this member, as JSON.
    pub fn lines(&self, member: &str) -> Vec<Value> {
        let said = self.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.get(member).is_some()).collect()
    }

    /// How many of these events it has logged.
    pub fn events(&self, event: &str) -> usize {
        self.lines("event").iter().filter(|line| line["event"] == event).count()
    }

    /// Waits until something is true of it.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "it did not come to pass: {what}\n{}", self.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until SIGKILL has ended it, whoever sent that.
    pub async fn until_killed(mut self, what: &str) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.child.try_wait().unwrap() {
                assert_eq!(status.signal(), Some(9), "{what}: it ended otherwise\n{}", self.last_words());
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: it did not die\n{}", self.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether SIGKILL has ended it by now.
    pub fn is_killed(&mut self, what: &str) -> bool {
        let Some(status) = self.process.child.try_wait().unwrap() else { return false };
        assert_eq!(status.signal(), Some(9), "{what}: it ended otherwise\n{}", self.last_words());
        true
    }

    /// Its metrics, once it serves them.
    pub async fn metrics(&self) -> Option<String> {
        let line = self.lines("listen").pop()?;
        reqwest::get(format!("http://{}/metrics", line["listen"].as_str()?)).await.ok()?.text().await.ok()
    }

    /// Whether it says that these are at rest.
    pub async fn rest(&self, mut names: impl Iterator<Item = &CredentialName>) -> bool {
        let Some(metrics) = self.metrics().await else { return false };
        let lines: BTreeSet<&str> = metrics.lines().collect();
        let holds = |line: String| lines.contains(line.as_str());
        names.all(|name| {
            holds(format!("rekeyd_credential_phase{{credential=\"{name}\",phase=\"serving\"}} 1"))
                && holds(format!("rekeyd_strays{{credential=\"{name}\"}} 0"))
        })
    }

    /// How many keys it says it can not explain, and leaves to a person.
    pub async fn unexplained(&self) -> usize {
        let metrics = self.metrics().await.unwrap_or_default();
        let line = metrics.lines().find(|line| line.starts_with("rekeyd_unexplained_keys{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }
}
