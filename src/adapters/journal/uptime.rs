//! The running time of an installation of several processes: one number in the journal that all of them push on.
//!
//! Each process pushes it by what has passed since the last push, of whomever, on the database's clock, and by no more
//! than its own monotonic clock has seen since its own last push. So it runs no faster than the slower of the two, and
//! a clock that is wrong can only delay (protocol, rule 10). In between, each process carries it forward by itself.

use crate::model::time::Uptime;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How one process sees the running time.
pub struct SharedClock(Mutex<Anchor>);

struct Anchor {
    value: Uptime,
    running: Duration,
    shown: Uptime,
}

impl SharedClock {
    /// The running time was this when the process had run for so long.
    pub fn new(value: Uptime, running: Duration) -> Self {
        Self(Mutex::new(Anchor { value, running, shown: value }))
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running time when this process has run for so long; it never goes back.
    pub fn at(&self, running: Duration) -> Uptime {
        let mut anchor = self.anchor();
        let now = anchor.value.plus(running.saturating_sub(anchor.running));
        anchor.shown = anchor.shown.max(now);
        anchor.shown
    }

    /// How long this process has run since it last pushed.
    pub fn since_tick(&self, running: Duration) -> Duration {
        running.saturating_sub(self.anchor().running)
    }

    /// It was pushed: this is its value when this process has run for so long. If it was more before, that is answered:
    /// nobody pushes it back, so the journal is not the one that it was.
    pub fn tick(&self, value: Uptime, running: Duration) -> Option<Uptime> {
        let mut anchor = self.anchor();
        let before = anchor.value;
        (anchor.value, anchor.running) = (value, running);
        (value < before).then_some(before)
    }
}
