//! The published value: one JSON object that moves as a whole.
//!
//! Its members are those of AWS's own `TwilioApiKey` secret type (AWS Secrets Manager user guide, "Twilio API key"),
//! unless the policy renames them, and one more, the stamp, that says who wrote it and from which journal entry.
//! Members that people added are kept.

use super::key::{AccountSid, AttemptId, KeySid};
use super::names::{CredentialName, Instance, Version};
pub use super::pair::{Beside, Pair, Signing};
use super::secret::Secret;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use zeroize::Zeroizing;

/// What the members of the published object are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The account that owns the key.
    pub account_sid: String,
    /// The key's SID; empty for auth tokens, which have none: the stamp tells which attempt made one.
    pub api_key_sid: String,
    /// The key's secret, or the private key of a key pair in PEM (PKCS #8, RFC 5958), or an auth token.
    pub api_key_secret: String,
    /// The stamp.
    pub stamp: String,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            account_sid: "accountSid".into(),
            api_key_sid: "apiKeySid".into(),
            api_key_secret: "apiKeySecret".into(),
            stamp: "rekeyd".into(),
        }
    }
}

impl Members {
    /// What the members of a key pair are called, unless the policy renames them.
    pub fn of_key_pairs() -> Self {
        Self { api_key_sid: "publicKeySid".into(), api_key_secret: "privateKey".into(), ..Self::default() }
    }

    /// What the members of an auth token are called, unless the policy renames them: as in AWS's secret type
    /// `TwilioAuthToken`.
    pub fn of_tokens() -> Self {
        Self { api_key_sid: String::new(), api_key_secret: "authToken".into(), ..Self::default() }
    }

    /// Every name, also the empty one of an auth token's SID.
    pub fn all(&self) -> [&str; 4] {
        [&self.account_sid, &self.api_key_sid, &self.api_key_secret, &self.stamp]
    }

    /// The key that an object names, and its stamp. An auth token is named by its stamp, which is sealed with the token: if a
    /// person changes one of the two, neither says anything.
    fn named(&self, object: &Map<String, Value>) -> Option<Result<(KeySid, Option<Stamp>), ()>> {
        let text = |member: &str| object.get(member).and_then(Value::as_str);
        let stamp = text(&self.stamp);
        if !self.api_key_sid.is_empty() {
            let sid = KeySid::new(text(&self.api_key_sid)?);
            return Some(sid.map(|sid| (sid, stamp.and_then(Stamp::parse))).map_err(drop));
        }
        let token = text(&self.api_key_secret)?;
        Some(
            match stamp {
                Some(sealed) => {
                    Stamp::unseal(sealed, token).map(|stamp| (KeySid::of_token(stamp.attempt), Some(stamp)))
                }
                None => text(&self.account_sid)
                    .and_then(|account| AccountSid::new(account).ok())
                    .map(|account| (KeySid::first_token(&account), None)),
            }
            .ok_or(()),
        )
    }
}

/// What the members are called now, and what they were called whenever the policy renamed them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// As they are written, and first looked for.
    pub now: Members,
    /// As they may still be found; taken away by the next write, so that no old pair stays behind beside the new one.
    pub before: Vec<Members>,
}

/// Who wrote a value, and from which entry of the journal: what makes a restored journal visible (protocol, S14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The installation.
    pub instance: Instance,
    /// The credential.
    pub credential: CredentialName,
    /// The journal's sequence number of the decision to publish.
    pub seq: u64,
    /// The attempt that made the key.
    pub attempt: AttemptId,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.instance, self.credential, self.seq, self.attempt)
    }
}

impl Stamp {
    /// Reads the text form; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let stamp = Self {
            instance: Instance::new(parts.next()?).ok()?,
            credential: CredentialName::new(parts.next()?).ok()?,
            seq: parts.next()?.parse().ok()?,
            attempt: AttemptId(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(stamp)
    }

    /// The text form that belongs to this token and no other.
    fn seal(&self, token: &Secret) -> String {
        format!("{self}:{}", self.digest(token.expose()))
    }

    /// Reads the text form, if it belongs to this token.
    fn unseal(text: &str, token: &str) -> Option<Self> {
        let (stamp, digest) = text.rsplit_once(':')?;
        Self::parse(stamp).filter(|stamp| stamp.digest(token) == digest)
    }

    /// Lies beside the token and nowhere else: of a token of 128 random bits it tells nothing.
    fn digest(&self, token: &str) -> String {
        let text = Zeroizing::new(format!("{self}:{token}"));
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a place holds, without any secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the place does not exist, or was deleted.
    Absent,
    /// The place exists and holds no key and nothing else of worth: an empty object, or what a fence left there.
    Blank,
    /// A pair.
    Pair {
        /// The key it names.
        sid: KeySid,
        /// The stamp, if a rekeyd wrote it.
        stamp: Option<Stamp>,
    },
    /// Something else.
    Foreign,
}

impl Content {
    /// The key that a consumer would use now.
    pub fn sid(&self) -> Option<&KeySid> {
        match self {
            Content::Pair { sid, .. } => Some(sid),
            Content::Absent | Content::Blank | Content::Foreign => None,
        }
    }
}

/// One look at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The version that a compare-and-set would have to name.
    pub version: Version,
    /// What a consumer would read.
    pub content: Content,
    /// Whether the attempt asked about lies there ready to be promoted (Secrets Manager's `AWSPENDING`).
    pub staged: bool,
}

const RESERVED: &str = "reserved:";

/// Reads an object as a consumer would; the secret comes beside the facts, never inside them.
pub fn read(object: &Map<String, Value>, names: &Names) -> (Content, Option<Secret>) {
    let now = read_as(object, &names.now);
    if now.0 != Content::Foreign {
        return now;
    }
    let before = names.before.iter().map(|members| read_as(object, members));
    before.into_iter().find(|(content, _)| content != &Content::Foreign).unwrap_or(now)
}

fn read_as(object: &Map<String, Value>, members: &Members) -> (Content, Option<Secret>) {
    let text = |member: &str| object.get(member).and_then(Value::as_str);
    let stamp = text(&members.stamp);
    let Some(sid) = members.named(object) else {
        let only_stamp = object.len() == 1 && stamp.is_some_and(|s| s.starts_with(RESERVED));
        let blank = object.is_empty() || only_stamp;
        return (if blank { Content::Blank } else { Content::Foreign }, None);
    };
    let Ok((sid, stamp)) = sid else { return (Content::Foreign, None) };
    let secret = text(&members.api_key_secret).filter(|secret| !secret.is_empty());
    let secret = secret.map(|secret| Secret::new(secret.to_owned()));
    (Content::Pair { sid, stamp }, secret)
}

/// Puts the pair into the object that is there now; members that are not ours stay.
pub fn write(object: &mut Map<String, Value>, names: &Names, pair: &Pair) {
    for old in names.before.iter().flat_map(Members::all) {
        object.remove(old);
    }
    if names.now.api_key_sid.is_empty() {
        object.remove(Beside::PREVIOUS);
    }
    let mut put = |member: &str, value: String| object.insert(member.to_owned(), Value::String(value));
    put(&names.now.account_sid, pair.account.to_string());
    if !names.now.api_key_sid.is_empty() {
        put(&names.now.api_key_sid, pair.sid.to_string());
    }
    put(&names.now.api_key_secret, pair.secret.expose().to_owned());
    let named = !names.now.api_key_sid.is_empty();
    put(&names.now.stamp, if named { pair.stamp.to_string() } else { pair.stamp.seal(&pair.secret) });
    for (member, value) in pair.beside.iter().flat_map(Beside::members) {
        put(member, value.to_owned());
    }
}

/// What a fence writes to a place that holds nothing: an object without a key, so that no delayed create can succeed.
pub fn reservation(names: &Names, attempt: AttemptId) -> Map<String, Value> {
    Map::from_iter([(names.now.stamp.clone(), Value::String(format!("{RESERVED}{attempt}")))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::PublicKeySid;
    use serde_json::json;
    use uuid::Uuid;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn pair() -> Pair {
        Pair {
            account: AccountSid::new("AC00000000000000000000000000000001").unwrap(),
            sid: KeySid::new("SK00000000000000000000000000000001").unwrap(),
            secret: Secret::new("s3cret".into()),
            stamp: Stamp {
                instance: Instance::new("prod").unwrap(),
                credential: CredentialName::new("billing").unwrap(),
                seq: 12,
                attempt: AttemptId(Uuid::from_u128(5)),
            },
            beside: None,
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_foreign_members_stay() {
        let mut there = object(json!({"validationUrl": "https://api.twilio.com/x", "apiKeySid": "old"}));
        write(&mut there, &Names::default(), &pair());
        assert_eq!(there["validationUrl"], "https://api.twilio.com/x");
        let (content, secret) = read(&there, &Names::default());
        assert_eq!(content, Content::Pair { sid: pair().sid, stamp: Some(pair().stamp) });
        assert_eq!(secret.unwrap().expose(), "s3cret");
    }

    #[test]
    fn what_requests_are_signed_with_is_written_beside_the_pair_and_read_by_its_own_name() {
        let public_key = PublicKeySid::new("CR00000000000000000000000000000001").unwrap();
        let signing = Signing { public_key, private_key: Secret::new("pem".into()) };
        let mut there = Map::new();
        write(&mut there, &Names::default(), &Pair { beside: Some(Beside::Signing(signing)), ..pair() });
        assert_eq!(
            (&there["publicKeySid"], &there["privateKey"]),
            (&json!("CR00000000000000000000000000000001"), &json!("pem"))
        );
        let now = Members { api_key_secret: Signing::PRIVATE_KEY.into(), ..Members::default() };
        let (content, private) = read(&there, &Names { now, before: Vec::new() });
        assert_eq!((content.sid(), private.unwrap().expose()), (Some(&pair().sid), "pem"));
    }

    #[test]
    fn a_value_without_a_well_formed_sid_is_foreign() {
        for value in [json!({"user": "x"}), json!({"apiKeySid": "nonsense"}), json!({"apiKeySid": 7})] {
            assert_eq!(read(&object(value.clone()), &Names::default()).0, Content::Foreign, "{value}");
        }
    }

    #[test]
    fn an_empty_object_and_a_reservation_are_blank() {
        let names = Names::default();
        assert_eq!(read(&Map::new(), &names).0, Content::Blank);
        assert_eq!(read(&reservation(&names, AttemptId(Uuid::from_u128(5))), &names).0, Content::Blank);
    }

    #[test]
    fn after_a_renaming_the_old_pair_is_still_read_and_does_not_stay_behind() {
        let mut there = Map::new();
        write(&mut there, &Names::default(), &pair());
        let now = Members { api_key_sid: "TWILIO_API_KEY".into(), ..Members::default() };
        let names = Names { now, before: vec![Members::default()] };
        assert_eq!(read(&there, &names).0.sid(), Some(&pair().sid));
        write(&mut there, &names, &pair());
        assert!(!there.contains_key("apiKeySid"));
        assert_eq!(there["TWILIO_API_KEY"], pair().sid.as_str());
    }

    #[test]
    fn an_auth_token_is_called_by_the_attempt_in_its_stamp_or_by_its_account() {
        let names = Names { now: Members::of_tokens(), before: Vec::new() };
        let by_hand = object(json!({"accountSid": pair().account.as_str(), "authToken": "old", "theirs": 1}));
        let (content, token) = read(&by_hand, &names);
        assert_eq!(content, Content::Pair { sid: KeySid::first_token(&pair().account), stamp: None });
        assert_eq!(token.unwrap().expose(), "old");

        let mut there = by_hand;
        let made = KeySid::of_token(pair().stamp.attempt);
        let beside = Some(Beside::Previous(Secret::new("old".into())));
        write(&mut there, &names, &Pair { sid: made.clone(), beside, ..pair() });
        assert_eq!(read(&there, &names).0, Content::Pair { sid: made, stamp: Some(pair().stamp) });
        assert_eq!(
            there.keys().collect::<Vec<_>>(),
            ["accountSid", "authToken", "previousAuthToken", "rekeyd", "theirs"]
        );
        let mut edited = there.clone();
        edited["authToken"] = json!("old");
        assert_eq!(read(&edited, &names).0, Content::Foreign, "a person put another token under our stamp");
        write(&mut there, &names, &pair());
        assert!(!there.contains_key("previousAuthToken"), "an older one does not stay");
        for foreign in [json!({"accountSid": pair().account.as_str()}), json!({"authToken": "of nobody"})] {
            assert_eq!(read(&object(foreign.clone()), &names).0, Content::Foreign, "{foreign}");
        }
        let reserved = reservation(&names, AttemptId(Uuid::from_u128(5)));
        assert_eq!(read(&reserved, &names).0, Content::Blank);
    }

    #[test]
    fn a_pair_written_by_hand_has_no_stamp() {
        let there = object(json!({"apiKeySid": pair().sid.as_str(), "apiKeySecret": "x", "rekeyd": "by hand"}));
        assert_eq!(read(&there, &Names::default()).0, Content::Pair { sid: pair().sid, stamp: None });
    }
}
