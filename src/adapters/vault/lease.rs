//! A token and how long it lasts: used for two thirds of its lease, then it needs a longer one.

use crate::model::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A token with its lease.
pub(super) struct Lease {
    pub(super) token: Arc<Secret>,
    /// How long it lasts when it is fresh; zero if it has no end.
    full: Duration,
    /// Whether it is worth asking for more.
    pub(super) renewable: bool,
    /// When it is renewed or replaced; none if it has no end.
    due: Option<Instant>,
    end: Option<Instant>,
}

/// What the server gave to who asked for more.
pub(super) enum Renewed {
    /// As much as the first time.
    Full,
    /// Less, because the token comes to the end of its days (`max_ttl`), or nothing.
    Last,
}

impl Lease {
    /// A token that lasts so long when it is fresh, and has so much left.
    pub(super) fn new(token: Arc<Secret>, full: Duration, left: Duration, renewable: bool) -> Self {
        let mut lease = Self { token, full, renewable, due: None, end: None };
        lease.lasts(left);
        lease
    }

    /// A token of which nothing is known.
    pub(super) fn endless(token: Secret) -> Self {
        Self::new(Arc::new(token), Duration::ZERO, Duration::ZERO, false)
    }

    fn lasts(&mut self, left: Duration) {
        // A lease that no clock can hold the end of has none.
        self.end = now().checked_add(left).filter(|_| !self.full.is_zero());
        let third = self.full / 3;
        self.due = self.end.and(now().checked_add(left.saturating_sub(third)));
    }

    /// Takes over what the server gave.
    pub(super) fn renewed(&mut self, by: &Lease) -> Renewed {
        let whole = by.full >= self.full || by.full.is_zero();
        if whole {
            self.full = by.full;
        }
        self.lasts(by.full);
        self.renewable = whole && by.renewable;
        if self.renewable { Renewed::Full } else { self.given_up() }
    }

    /// There is no more to be had for this token: another one is needed, from now on.
    pub(super) fn given_up(&mut self) -> Renewed {
        self.renewable = false;
        self.due = self.end.map(|_| now());
        Renewed::Last
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= now())
    }

    /// How long until it is due; none if it never is.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now()))
    }

    /// How much is left of it; none if it has no end.
    pub(super) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(now()))
    }

    pub(super) fn lives(&self) -> bool {
        self.left().is_none_or(|left| !left.is_zero())
    }

    /// Nobody answered: it is tried again when half of the rest has passed, and not more than once a second.
    pub(super) fn try_later(&mut self) {
        self.due = self.left().and_then(|left| now().checked_add((left / 2).max(Duration::from_secs(1))));
    }
}

#[expect(clippy::disallowed_methods, reason = "the age of a lease, which only this file knows")]
fn now() -> Instant {
    Instant::now()
}
