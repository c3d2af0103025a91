//! Signatures against requests that Twilio's own libraries signed.

use super::super::{Faults, KeyKind, NewKey};
use super::*;
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeySid};
use crate::model::secret::Secret;
use serde_json::Value;

/// Requests that Twilio's own Python library signed, and what other libraries of theirs make of them.
const VECTORS: &str = include_str!("../../../tests/vectors/pkcv.json");
const NOW: i64 = 1_700_000_000;

fn vectors() -> (Value, Vec<Value>) {
    let all: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = all["vectors"].as_array().unwrap().clone();
    (all, vectors)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn wire(vector: &Value) -> Wire {
    let (input, by_hand) = (&vector["payload_input"], !vector["payload_input"].is_null());
    let sent = &vector["wire"];
    let mut headers = Vec::new();
    if by_hand {
        for (name, value) in input["all_headers"].as_object().unwrap() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            headers.extend(values.iter().map(|value| (name.to_lowercase(), text(value))));
        }
    } else {
        headers.push(("host".to_owned(), text(&sent["host_header"])));
        headers.push(("authorization".to_owned(), text(&sent["authorization_header"])));
        headers.push(("twilio-client-validation".to_owned(), text(&vector["jwt"])));
    }
    let from = if by_hand { input } else { sent };
    Wire {
        method: text(&from["method"]),
        path: text(&from["path"]),
        query: text(&from["query_string"]),
        headers,
        body: text(&from["body"]).into_bytes(),
    }
}

fn signed(vector: &Value) -> BTreeSet<String> {
    let given = vector["signed_headers"].as_array().or(vector["payload_input"]["signed_headers"].as_array());
    given.unwrap().iter().map(text).collect()
}

fn agreed(vector: &Value) -> bool {
    text(&vector["agreement"]["use"]).starts_with("conformance")
}

#[test]
fn where_twilios_libraries_and_docs_agree_so_does_the_strict_form() {
    let (_, vectors) = vectors();
    let agreed: Vec<_> = vectors.iter().filter(|vector| agreed(vector)).collect();
    assert!(agreed.len() >= 9, "{}", agreed.len());
    for vector in agreed {
        let canonical = wire(vector).canonical(&signed(vector), Form::Strict);
        assert_eq!(canonical, text(&vector["python_canonical"]), "{}", vector["name"]);
        assert_eq!(hex(canonical.as_bytes()), text(&vector["rqh"]), "{}", vector["name"]);
    }
}

/// A world in which the vectors were made, and the moment.
fn world(tolerant: bool) -> (World, Timestamp) {
    let (all, _) = vectors();
    let about = |name: &str| text(&all["about"][name]);
    let now = Timestamp::from_second(NOW + 10).unwrap();
    let mut world = World::new(1, Faults { pkcv_tolerant: tolerant, ..Faults::default() });
    let account = world.open_account(now, Some(AccountSid::new(&about("account_sid")).unwrap()), None);
    let pair = (KeySid::new(&about("api_key_sid")).unwrap(), Secret::new(about("api_key_secret")));
    world.make_by_hand(now, NewKey { account: account.clone(), kind: KeyKind::Main, name: None, pair: Some(pair) });
    let made = world.register(now, &account, None, &text(&all["rsa_public_key_spki_pem"])).unwrap();
    let key = world.public_keys.remove(&made).unwrap();
    let sid = PublicKeySid::new(&about("credential_sid")).unwrap();
    world.public_keys.insert(sid.clone(), PublicKey { sid, ..key });
    (world, now)
}

fn judge(world: &World, now: Timestamp, wire: &Wire) -> Result<Option<Form>, Invalid> {
    let (all, _) = vectors();
    let account = AccountSid::new(&text(&all["about"]["account_sid"])).unwrap();
    world.check_signature(now, (&Home::us1(account), &text(&all["about"]["api_key_sid"])), true, Some(wire))
}

#[test]
fn tokens_of_twilios_python_library_are_right_where_all_agree_and_tolerated_elsewhere() {
    let (_, vectors) = vectors();
    let (strict, now) = world(false);
    let (tolerant, _) = world(true);
    let sent = vectors.iter().filter(|vector| !vector["wire"].is_null());
    let (mut right, mut other) = (0, 0);
    for vector in sent {
        let (name, wire) = (text(&vector["name"]), wire(vector));
        if agreed(vector) {
            assert_eq!(judge(&strict, now, &wire), Ok(Some(Form::Strict)), "{name}");
            right += 1;
        } else if judge(&strict, now, &wire) == Err(Invalid::Request) {
            assert_eq!(judge(&tolerant, now, &wire), Ok(Some(Form::AsWritten)), "{name}");
            other += 1;
        }
    }
    assert!(right >= 7 && other >= 1, "{right} {other}");
}

#[test]
fn each_thing_that_can_be_wrong_with_a_token_is_told() {
    let (world, now) = world(false);
    let (_, vectors) = vectors();
    let of = |name: &str| vectors.iter().find(|vector| text(&vector["name"]) == name).unwrap();
    let plain = || wire(of("05_post_form"));
    let at = |seconds: i64| Timestamp::from_second(NOW + seconds).unwrap();
    assert_eq!(judge(&world, at(0), &plain()), Ok(Some(Form::Strict)), "valid from this second");
    assert_eq!(judge(&world, at(-1), &plain()), Err(Invalid::Early));
    assert_eq!(judge(&world, at(299), &plain()), Ok(Some(Form::Strict)), "the last second");
    assert_eq!(judge(&world, at(300), &plain()), Err(Invalid::Expired));
    let changed = |change: &dyn Fn(&mut Wire)| {
        let mut wire = plain();
        change(&mut wire);
        judge(&world, now, &wire)
    };
    assert_eq!(changed(&|wire| wire.body.push(b'x')), Err(Invalid::Request));
    assert_eq!(changed(&|wire| wire.method = "PUT".into()), Err(Invalid::Request));
    assert_eq!(changed(&|wire| wire.path.push('x')), Err(Invalid::Request));
    assert_eq!(changed(&|wire| wire.query = "a=1".into()), Err(Invalid::Request));
    assert_eq!(changed(&|wire| wire.headers.retain(|(name, _)| name != "host")), Err(Invalid::HeaderMissing));
    assert_eq!(changed(&|wire| _ = wire.headers.pop()), Err(Invalid::Required));
    let with_token = |token: &str| changed(&|wire| wire.headers.last_mut().unwrap().1 = token.to_owned());
    assert_eq!(with_token("x"), Err(Invalid::Token));
    assert_eq!(with_token("e30.e30.e30"), Err(Invalid::Header));
    let token = text(&of("05_post_form")["jwt"]);
    let other = text(&of("08_delete")["jwt"]);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(with_token(&format!("{signed}.{signature}")), Err(Invalid::Signature));
    let account = world.accounts().next().unwrap().sid.clone();
    let by = |user: &str, enforced| {
        world.check_signature(now, (&Home::us1(account.clone()), user), enforced, Some(&plain()))
    };
    assert_eq!(by("SK00000000000000000000000000000009", true), Err(Invalid::Issuer));
    assert_eq!(by("SK00000000000000000000000000000003", false), Err(Invalid::NotEnabled));
    let stranger = AccountSid::new("AC00000000000000000000000000000009").unwrap();
    let user = "SK00000000000000000000000000000003";
    assert_eq!(
        world.check_signature(now, (&Home::us1(stranger), user), true, Some(&plain())),
        Err(Invalid::UnknownKey)
    );
}

#[test]
fn a_signature_with_probabilistic_padding_is_right_too() {
    let (all, vectors) = vectors();
    let (world, now) = world(false);
    let mut wire = wire(vectors.iter().find(|vector| vector["name"] == all["ps256_sample"]["of"]).unwrap());
    wire.headers.last_mut().unwrap().1 = text(&all["ps256_sample"]["jwt"]);
    assert_eq!(judge(&world, now, &wire), Ok(Some(Form::Strict)));
}
