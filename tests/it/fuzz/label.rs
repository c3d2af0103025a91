//! Labels: what is printed is read back, and no letter of it can be changed without the proof being lost.

use super::play;
use proptest::prelude::*;
use proptest::sample::Index;
use rekeyd::model::home::Home;
use rekeyd::model::key::{AccountSid, AttemptId, LABEL_LIMIT, Label, LabelKey};
use rekeyd::model::names::{CredentialName, Instance};
use uuid::Uuid;

#[derive(Debug, Clone)]
struct Made {
    key: [u8; 32],
    account: String,
    instance: String,
    credential: String,
    attempt: u128,
}

fn made() -> impl Strategy<Value = Made> {
    let parts = (any::<[u8; 32]>(), "AC[0-9a-f]{32}", "[a-z0-9-]{1,16}", "[a-z0-9][a-z0-9-]{0,25}", any::<u128>());
    parts.prop_map(|(key, account, instance, credential, attempt)| Made { key, account, instance, credential, attempt })
}

impl Made {
    fn label(&self) -> (LabelKey, Home, Label) {
        let (key, home) = (LabelKey::new(self.key), Home::us1(AccountSid::new(&self.account).unwrap()));
        let (instance, name) = (Instance::new(&self.instance).unwrap(), CredentialName::new(&self.credential).unwrap());
        let label = Label::new(&key, &home, &instance, &name, AttemptId(Uuid::from_u128(self.attempt)));
        (key, home, label)
    }
}

#[test]
fn a_label_is_read_back_as_it_was_and_any_other_letter_costs_its_proof() {
    let letters = prop_oneof![any::<char>(), prop::char::range('\0', '\u{7f}'), Just(':'), Just('-'), Just('A')];
    let values = (made(), any::<Index>(), letters, any::<[u8; 32]>());
    play("label", &values, |(made, at, letter, other)| {
        let (key, home, label) = made.label();
        let text = label.to_string();
        assert_eq!(text.len(), Label::length(&label.instance, &label.credential));
        assert!(text.is_ascii() && (text.len() <= LABEL_LIMIT || made.instance.len() + made.credential.len() > 27));
        let read = Label::parse(&text).unwrap();
        assert!(read == label && read.proven(&key, &home), "{text}");
        assert!(other == made.key || !read.proven(&LabelKey::new(other), &home), "another key proves {text}");
        let mut letters: Vec<char> = text.chars().collect();
        let place = at.index(letters.len());
        if std::mem::replace(&mut letters[place], letter) != letter {
            let forged: String = letters.iter().collect();
            let proven = Label::parse(&forged).is_some_and(|label| label.proven(&key, &home));
            assert!(!proven, "{forged} is proven, and was {text}");
        }
    });
}

#[test]
fn what_is_read_as_a_label_is_printed_as_it_was() {
    let odd =
        "rekeyd:[a-z0-9:-]{0,24}:[A-Za-z0-9_=+/-]{26,30}|rekeyd:[a-z]{1,4}:[a-z]{1,4}:[A-Za-z0-9_-]{28}|\\PC{0,64}";
    play("label text", &odd, |text: String| {
        if let Some(label) = Label::parse(&text) {
            assert_eq!(label.to_string(), text);
        }
    });
}
