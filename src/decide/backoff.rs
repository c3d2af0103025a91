//! How long to wait after the n-th failure in a row: exponential from 1 s to 15 min with full jitter (protocol, rule 13).

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The delay before the next try. The jitter comes from `seed`, so that a decision is a function of its input; callers
/// mix in what differs between credentials and between tries. Never less than a tenth of the ceiling, so that even the
/// luckiest draw slows down.
pub fn delay(failures: u32, seed: &str) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let ceiling = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let floor = ceiling / 10;
    let share = f64::from(hash(seed, failures)) / f64::from(u32::MAX);
    floor + (ceiling - floor).mul_f64(share)
}

/// FNV-1a folded to 32 bits: no security in it, only spread.
fn hash(seed: &str, salt: u32) -> u32 {
    let bytes = seed.bytes().chain(salt.to_le_bytes());
    let full = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (full ^ (full >> 32)) as u32
}

/// A stable share of `whole` for this name, to spread work that would otherwise fall on one moment.
pub fn spread(name: &str, whole: Duration) -> Duration {
    whole.mul_f64(f64::from(hash(name, 0)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_quarter_of_an_hour_and_no_further() {
        for failures in 1..40 {
            let ceiling = Duration::from_secs(1 << (failures - 1).min(20)).min(LONGEST);
            let delay = delay(failures, "billing-sms");
            assert!(delay >= ceiling / 10 && delay <= ceiling, "{failures}: {delay:?}");
        }
    }

    /// Reckoned with another program, by the published constants of FNV-1a.
    #[test]
    fn the_spread_is_the_same_in_every_release() {
        let reckoned = [
            ("", 0, 3_505_087_882),
            ("foobar", 0, 2_550_358_093),
            ("foobar", 1, 601_616_596),
            ("billing-sms", 7, 3_456_954_134),
        ];
        for (seed, salt, expected) in reckoned {
            assert_eq!(hash(seed, salt), expected, "{seed} {salt}");
        }
        let share = spread("foobar", Duration::from_secs(1)).as_secs_f64();
        assert!((share - f64::from(reckoned[1].2) / f64::from(u32::MAX)).abs() < 1e-6, "{share}");
    }

    #[test]
    fn two_credentials_do_not_wait_alike() {
        assert_ne!(delay(10, "a"), delay(10, "b"));
        assert_ne!(spread("a", LONGEST), spread("b", LONGEST));
    }
}
