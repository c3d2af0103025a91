//! This machine's time and chance, behind the `Clock` port.
#![expect(clippy::disallowed_methods, reason = "this file is the Clock port that everybody else has to ask")]

use crate::model::key::AttemptId;
use crate::ports::Clock;
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The clocks of the operating system; monotonic time counts from the moment this value is made.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    /// On Linux this clock stands still while the machine is suspended, so it can only come out too short, and what
    /// is measured with it too long (protocol, rule 10).
    fn running(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Version 7 (RFC 9562): 74 random bits, and sorted by time, so that labels in a key list can be read in order.
    fn attempt(&self) -> AttemptId {
        AttemptId(Uuid::now_v7())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_attempts_are_the_same() {
        let clock = SystemClock::new();
        let attempts: BTreeSet<_> = (0..10_000).map(|_| clock.attempt()).collect();
        assert_eq!(attempts.len(), 10_000);
    }

    #[tokio::test]
    async fn a_sleep_shows_on_both_clocks() {
        let clock = SystemClock::new();
        assert!(clock.running() < Duration::from_secs(60), "it counts from its own start, not from the machine's");
        let (wall, running) = (clock.wall(), clock.running());
        clock.sleep(Duration::from_millis(20)).await;
        assert!(clock.running() - running >= Duration::from_millis(20));
        assert!(clock.wall() > wall);
    }
}
