//! The text of a published value, as every sink stores it: what it says, and how it is rewritten.
//!
//! `model::document` knows the members; this file keeps the rest of the text as people wrote it. A member that is not
//! ours keeps its text to the byte, also a number that no machine number could hold.

use crate::model::document::{self, Content, Names, Pair};
use crate::model::key::AttemptId;
use crate::model::secret::Secret;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The bytes of a value, zeroed when they are dropped.
pub(super) type Text = Zeroizing<Vec<u8>>;

/// What a place says to a consumer; the secret comes beside the facts.
pub(super) fn read(there: Option<&[u8]>, names: &Names) -> (Content, Option<Secret>) {
    there.map_or((Content::Absent, None), |text| parse(text, names))
}

/// What a place says, word for word; none if it says nothing, or no text.
pub(super) fn text(there: Option<&[u8]>) -> Option<Secret> {
    std::str::from_utf8(there?).ok().map(|text| Secret::new(text.to_owned()))
}

fn parse(text: &[u8], names: &Names) -> (Content, Option<Secret>) {
    let Ok(raw) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text) else { return (Content::Foreign, None) };
    // What no machine number can hold, or is too deep, is no member of ours: that it is there is all that counts.
    let value = |text: &RawValue| serde_json::from_str(text.get()).unwrap_or(Value::Null);
    let object: Map<String, Value> = raw.into_iter().map(|(member, text)| (member, value(text))).collect();
    document::read(&object, names)
}

/// Puts the pair into the value that is there now; what is not a JSON object is replaced.
pub(super) fn with_pair(there: Option<&[u8]>, names: &Names, pair: &Pair) -> Text {
    let kept: BTreeMap<String, &RawValue> =
        there.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    // `document::write` puts texts in and takes members away, and looks at none: the rest may stand there as `null`.
    let mut object: Map<String, Value> = kept.keys().map(|member| (member.clone(), Value::Null)).collect();
    document::write(&mut object, names, pair);
    let member = |(name, value)| match kept.get(name) {
        Some(text) if Value::is_null(value) => (name, Member::Kept(text)),
        _ => (name, Member::Ours(value)),
    };
    pretty(&object.iter().map(member).collect::<BTreeMap<&String, Member<'_>>>())
}

/// What a fence writes: the same bytes again, or a reservation where no key is served.
pub(super) fn fenced(there: Option<&[u8]>, names: &Names, attempt: AttemptId) -> Text {
    match there {
        Some(text) if parse(text, names).0 != Content::Blank => Zeroizing::new(text.to_vec()),
        _ => pretty(&document::reservation(names, attempt)),
    }
}

/// Whether two values say the same: the same bytes, or the same pair under perhaps another stamp, or both no key.
pub(super) fn same(one: &[u8], other: &[u8], names: &Names) -> bool {
    let (one_says, other_says) = (parse(one, names), parse(other, names));
    match (one_says.0.sid(), other_says.0.sid()) {
        (Some(one), Some(other)) => {
            one == other && one_says.1.as_ref().map(Secret::expose) == other_says.1.as_ref().map(Secret::expose)
        }
        _ => one == other || (one_says.0 == Content::Blank && other_says.0 == Content::Blank),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Kept(&'a RawValue),
    Ours(&'a Value),
}

fn pretty(object: &impl Serialize) -> Text {
    Zeroizing::new(serde_json::to_vec_pretty(object).expect("maps with text keys always become JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same_text(one: &str, other: &str) -> bool {
        same(one.as_bytes(), other.as_bytes(), &Names::default())
    }

    fn pair(sid: u8, secret: &str, rest: &str) -> String {
        format!(r#"{{"apiKeySid":"SK{sid:032x}","apiKeySecret":"{secret}"{rest}}}"#)
    }

    #[test]
    fn pairs_are_the_same_by_key_and_secret_whatever_else_is_written_beside_them() {
        assert!(same_text(&pair(1, "a", ""), &pair(1, "a", r#","rekeyd":"x","theirs":1"#)));
        assert!(!same_text(&pair(1, "a", ""), &pair(1, "b", "")));
        assert!(!same_text(&pair(1, "a", ""), &pair(2, "a", "")));
        assert!(!same_text(&pair(1, "a", ""), "{}"));
    }

    #[test]
    fn a_pair_is_read_beside_what_no_machine_can_hold() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for theirs in ["1e400", "-0.1e-99999", deep.as_str(), "\"\\ud800\""] {
            let text = pair(1, "a", &format!(r#","theirs":{theirs}"#));
            let (content, secret) = parse(text.as_bytes(), &Names::default());
            assert!(content.sid().is_some() && secret.is_some(), "{theirs}");
        }
    }

    #[test]
    fn what_is_no_pair_is_the_same_if_both_serve_nothing_or_every_byte_is() {
        assert!(same_text("{}", r#"{"rekeyd":"reserved:x"}"#));
        assert!(same_text("not json", "not json"));
        assert!(!same_text("not json", "not json "));
        assert!(!same_text(r#"{"user":"x"}"#, r#"{"user":"y"}"#));
        assert!(!same_text("{}", "not json"));
    }
}
