//! Breakers: conditions under which nothing is created or deleted in an account (protocol, b.7).

use crate::model::time::Moment;
use crate::ports::Attempts;
use std::time::Duration;

/// The smallest number that counts as "many": a share of a handful says nothing.
const MANY: usize = 3;

/// Whether so many of so many are more than a fifth, and enough to mean something.
pub fn over_a_fifth(part: usize, whole: usize) -> bool {
    part >= MANY && part * 5 > whole
}

/// Whether keys that should be alive have vanished from an account.
pub fn keys_vanished(listed: usize, alive: usize, missing: usize) -> bool {
    (listed == 0 && alive > 0) || over_a_fifth(missing, alive)
}

/// Whether too many new keys were given up: the limit, and at least a quarter of what was started, so that a large
/// fleet is not stopped by the odd lost answer.
pub fn abandons(attempts: Attempts, limit: u32) -> bool {
    attempts.abandoned >= limit.max(1) && attempts.abandoned * 4 >= attempts.started
}

/// The distance between the wall clock and Twilio's at which neither is believed.
pub const CLOCKS_APART: Duration = Duration::from_secs(5 * 60);

/// Whether the clocks disagree.
pub fn clocks_disagree(now: &Moment) -> bool {
    now.disagreement().is_some_and(|apart| apart > CLOCKS_APART)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Uptime;
    use jiff::Timestamp;

    #[test]
    fn a_fifth_needs_at_least_three() {
        assert!(!over_a_fifth(1, 2));
        assert!(!over_a_fifth(2, 2));
        assert!(over_a_fifth(3, 14));
        assert!(!over_a_fifth(3, 15));
    }

    #[test]
    fn an_empty_list_while_keys_are_known_is_never_believed() {
        assert!(keys_vanished(0, 1, 1));
        assert!(!keys_vanished(0, 0, 0));
        assert!(!keys_vanished(1, 2, 1));
    }

    #[test]
    fn abandons_count_against_the_limit_and_against_what_was_started() {
        let attempts = |started, abandoned| Attempts { started, abandoned };
        assert!(!abandons(attempts(2, 2), 3));
        assert!(abandons(attempts(3, 3), 3));
        assert!(abandons(attempts(12, 3), 3));
        assert!(!abandons(attempts(13, 3), 3));
    }

    #[test]
    fn five_minutes_apart_is_the_edge() {
        let now = |apart: i64| Moment {
            wall: Timestamp::from_second(10_000 + apart).unwrap(),
            uptime: Uptime(0),
            twilio: Some(Timestamp::from_second(10_000).unwrap()),
        };
        assert!(!clocks_disagree(&now(300)));
        assert!(clocks_disagree(&now(301)));
        assert!(clocks_disagree(&now(-301)));
        assert!(!clocks_disagree(&Moment { twilio: None, ..now(9999) }));
    }
}
