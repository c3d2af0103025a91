//! Random choices from a seed, so that a run of the sandbox can be repeated.

use super::faults::Rate;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::secret::Secret;

/// A seeded generator: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
///
/// Whoever knows the seed knows every secret that comes out of it. That is the point: the secrets open nothing.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `low` to `high`, both included; in either order.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        let (low, high) = (low.min(high), low.max(high));
        low.saturating_add(self.below((high - low).saturating_add(1)))
    }

    /// Whether something of this rate happens now. A rate of zero uses up no randomness.
    pub(super) fn happens(&mut self, rate: Rate) -> bool {
        const PARTS: u64 = 1 << 53;
        rate.share() > 0.0 && (self.below(PARTS) as f64) < rate.share() * PARTS as f64
    }

    pub(super) fn key_sid(&mut self) -> KeySid {
        KeySid::new(&format!("SK{}", self.hex())).expect("SK and 32 hexadecimal digits is the form")
    }

    pub(super) fn account_sid(&mut self) -> AccountSid {
        AccountSid::new(&format!("AC{}", self.hex())).expect("AC and 32 hexadecimal digits is the form")
    }

    pub(super) fn public_key_sid(&mut self) -> PublicKeySid {
        PublicKeySid::new(&format!("CR{}", self.hex())).expect("CR and 32 hexadecimal digits is the form")
    }

    /// The id that Twilio gives to a request.
    pub(super) fn request_id(&mut self) -> String {
        format!("RQ{}", self.hex())
    }

    /// A key's secret: 32 characters of base62 (Twilio docs, "REST API: API Keys").
    pub(super) fn key_secret(&mut self) -> Secret {
        Secret::new(self.text(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
    }

    /// An account's token: 32 lowercase hexadecimal digits.
    pub(super) fn account_token(&mut self) -> Secret {
        Secret::new(self.hex())
    }

    fn hex(&mut self) -> String {
        self.text(b"0123456789abcdef")
    }

    fn text(&mut self, alphabet: &[u8]) -> String {
        (0..32).map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize])).collect()
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.step()) * u128::from(limit)) >> 64) as u64
    }

    fn step(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run_and_another_seed_another() {
        let secrets = |seed| {
            let mut chance = Chance::new(seed);
            [chance.key_secret(), chance.key_secret()].map(|secret| secret.expose().to_owned())
        };
        assert_eq!(secrets(7), secrets(7));
        assert_ne!(secrets(7), secrets(8));
        assert_ne!(secrets(7)[0], secrets(7)[1]);
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut chance = Chance::new(1_234_567);
        assert_eq!([chance.step(), chance.step()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn rates_hold_at_both_ends_and_in_the_middle() {
        let mut chance = Chance::new(1);
        let mut count = |share| (0..10_000).filter(|_| chance.happens(Rate::new(share).unwrap())).count();
        assert_eq!(count(0.0), 0);
        assert_eq!(count(1.0), 10_000);
        assert!((2_300..2_700).contains(&count(0.25)));
    }

    #[test]
    fn a_range_includes_both_ends_and_nothing_else() {
        let mut chance = Chance::new(1);
        let seen: std::collections::BTreeSet<u64> = (0..1_000).map(|_| chance.between(7, 5)).collect();
        assert_eq!(seen, [5, 6, 7].into());
        assert_eq!(chance.between(4, 4), 4);
    }

    #[test]
    fn secrets_look_like_twilios() {
        let mut chance = Chance::new(3);
        let (secret, token) = (chance.key_secret(), chance.account_token());
        assert!(secret.expose().len() == 32 && secret.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(token.expose().len() == 32 && token.expose().bytes().all(|b| b"0123456789abcdef".contains(&b)));
    }
}
