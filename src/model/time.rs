//! Time as the protocol sees it: three clocks, none trusted alone.

use super::rule::Rule;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long this installation has been running in all, in milliseconds: monotonic time added up over restarts.
///
/// It stands still while the daemon is down and never runs faster than true time, so a limit or a grace period
/// measured with it can only come out too long (protocol, rule 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(pub u64);

impl Uptime {
    /// Time passed since an earlier reading; zero if `earlier` is later.
    pub fn since(self, earlier: Uptime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This reading plus a duration, saturating.
    pub fn plus(self, duration: Duration) -> Uptime {
        Uptime(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This reading less a duration, zero at the least.
    pub fn minus(self, duration: Duration) -> Uptime {
        Uptime(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// One reading of all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The local wall clock.
    pub wall: Timestamp,
    /// Accumulated running time.
    pub uptime: Uptime,
    /// Twilio's `Date` header carried forward to now, if one was seen lately; it has a resolution of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twilio: Option<Timestamp>,
}

impl Moment {
    /// How far the wall clock and Twilio's clock are apart, if both are known.
    pub fn disagreement(&self) -> Option<Duration> {
        self.twilio.map(|twilio| self.wall.duration_since(twilio).unsigned_abs())
    }

    /// How much of `wanted` is still missing since `start`, by the slowest of all clocks; zero when every clock agrees
    /// that it has passed. A clock that stepped back counts as no time passed.
    pub fn missing(&self, start: &Moment, wanted: Duration) -> Duration {
        let wall = wanted.saturating_sub(elapsed(start.wall, self.wall));
        if !Rule::Clocks.holds() {
            return wall;
        }
        let uptime = wanted.saturating_sub(self.uptime.since(start.uptime));
        let twilio = match (start.twilio, self.twilio) {
            // Both readings are cut to whole seconds, so the true distance may be up to a second less.
            (Some(then), Some(now)) => (wanted + Duration::from_secs(1)).saturating_sub(elapsed(then, now)),
            // Without a fresh reading this clock cannot agree yet; the caller has to ask Twilio first.
            (Some(_), None) => Duration::from_secs(1),
            // Twilio sent no date when the period began: this clock does not take part.
            (None, _) => Duration::ZERO,
        };
        wall.max(uptime).max(twilio)
    }
}

/// The distance from `then` to `now`, zero if `now` is earlier.
pub fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// `start + by`, held at the end of time instead of failing.
pub fn later(start: Timestamp, by: Duration) -> Timestamp {
    start.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Durations in the journal: whole milliseconds.
pub mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes the number.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads the number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: i64, uptime: u64, twilio: Option<i64>) -> Moment {
        Moment {
            wall: Timestamp::from_second(wall).unwrap(),
            uptime: Uptime(uptime * 1000),
            twilio: twilio.map(|t| Timestamp::from_second(t).unwrap()),
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_period_is_over_only_when_every_clock_says_so() {
        let start = moment(1000, 1000, Some(1000));
        let over = moment(4600, 4600, Some(4601));
        assert_eq!(over.missing(&start, HOUR), Duration::ZERO);
        let wall_short = moment(4599, 4600, Some(4601));
        assert_eq!(wall_short.missing(&start, HOUR), Duration::from_secs(1));
        let uptime_short = moment(9000, 4000, Some(9000));
        assert_eq!(uptime_short.missing(&start, HOUR), Duration::from_secs(600));
        let twilio_short = moment(9000, 9000, Some(4600));
        assert_eq!(twilio_short.missing(&start, HOUR), Duration::from_secs(1));
    }

    #[test]
    fn a_clock_that_jumps_back_only_delays() {
        let start = moment(1000, 1000, None);
        assert_eq!(moment(-9000, 99_000, None).missing(&start, HOUR), HOUR);
    }

    #[test]
    fn a_clock_that_jumps_forward_alone_changes_nothing() {
        let start = moment(1000, 1000, Some(1000));
        assert_eq!(moment(999_999_999, 1001, Some(1001)).missing(&start, HOUR), HOUR);
    }

    #[test]
    fn without_a_fresh_date_twilio_has_not_agreed() {
        let start = moment(1000, 1000, Some(1000));
        assert!(moment(99_000, 99_000, None).missing(&start, HOUR) > Duration::ZERO);
    }
}
