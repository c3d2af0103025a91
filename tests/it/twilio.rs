//! The Twilio adapter against a server that sends every kind of answer. Each table below reads as: what the server
//! does, and the outcome that the engine must see.

mod create;
mod every_call;
mod keys;
mod pairs_and_accounts;
mod regions;
mod requests;
mod signed;
mod tokens;

use crate::support::wire::{Act, Wire};
use futures_util::future::join_all;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::http::Deadlines;
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::model::fault::Outcome;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, AttemptId, KeyFacts, KeySid, Label, LabelKey};
use rekeyd::model::names::{CredentialName, Instance};
use rekeyd::model::policy::{Access, Admin, SecretSource, TwilioPolicy};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Issuer as _, Make};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// The account that is worked on: not the one of the Main key.
pub(crate) const ACCOUNT: &str = "AC0000000000000000000000000000000a";
pub(crate) const MAIN_ACCOUNT: &str = "AC00000000000000000000000000000001";
pub(crate) const MAIN_KEY: &str = "SK00000000000000000000000000000001";
pub(crate) const KEY: &str = "SK0000000000000000000000000000000b";
pub(crate) const LABEL: &str = "rekeyd:prod:billing-sms:AAAAAAAAAAAAAAAAAAAAKslwaTQo";
pub(crate) const NEW_KEY: &str = "SK000000000000000000000000000000ff";
pub(crate) const DATE: &str = "Mon, 13 Jun 2016 22:50:08 +0000";

/// The three secrets. No text that the adapter makes may hold any of them. The first two are known to it, and made of
/// words too short to be taken for secrets; the third has Twilio's form, by which alone it can be told.
pub(crate) const MAIN_SECRET: &str = "Canary-Main-01";
pub(crate) const PAIR_SECRET: &str = "Canary-Pair-02";
pub(crate) const NEW_SECRET: &str = "CanaryNewCanaryNewCanaryNewCan03";

pub(crate) fn account() -> AccountSid {
    AccountSid::new(ACCOUNT).unwrap()
}

pub(crate) fn home() -> Home {
    Home::us1(account())
}

pub(crate) fn key() -> KeySid {
    KeySid::new(KEY).unwrap()
}

pub(crate) fn label() -> Label {
    let (instance, name) = (Instance::new("prod").unwrap(), CredentialName::new("billing-sms").unwrap());
    Label::new(&LabelKey::new([7; 32]), &home(), &instance, &name, AttemptId(Uuid::from_u128(42)))
}

pub(crate) fn client_with(base_url: Url, deadlines: Deadlines) -> TwilioClient {
    let account = AccountSid::new(MAIN_ACCOUNT).unwrap();
    let (key, secret) = (Some(KeySid::new(MAIN_KEY).unwrap()), SecretSource::Env("UNUSED".to_owned()));
    let admin = Admin { account: account.clone(), key, secret, pkcv: None };
    let access = Access { region: Region::us1(), base_url, admin, pkcv: None };
    let policy = TwilioPolicy {
        account,
        access,
        accounts: BTreeMap::new(),
        regions: BTreeMap::new(),
        homes: BTreeMap::new(),
        key_pairs: BTreeSet::new(),
    };
    let read = |_: &SecretSource| Ok(Secret::new(MAIN_SECRET.to_owned()));
    TwilioClient::with_deadlines(&policy, &read, Arc::new(SystemClock::new()), deadlines).unwrap()
}

pub(crate) fn client(wire: &Wire) -> TwilioClient {
    client_with(wire.url(), Deadlines::default())
}

/// The operations of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    List,
    Fetch,
    Delete,
    Probe,
    Standing,
}

impl Call {
    pub(crate) const ALL: [Call; 6] =
        [Call::Create, Call::List, Call::Fetch, Call::Delete, Call::Probe, Call::Standing];

    /// Makes the call and puts its outcome into words.
    pub(crate) async fn make(self, client: &TwilioClient) -> String {
        self.make_in(client, &home()).await
    }

    /// The same for keys that live there.
    pub(crate) async fn make_in(self, client: &TwilioClient, home: &Home) -> String {
        let key = key();
        match self {
            Call::Create => words(client.create(home, &label(), Make::Standard).await, |new| {
                assert_eq!(new.secret.expose(), NEW_SECRET);
                facts(&new.facts)
            }),
            Call::List => words(client.list(home).await, |keys| keys.iter().map(facts).collect::<Vec<_>>().join(", ")),
            Call::Fetch => words(client.fetch(home, &key).await, |key| key.as_ref().map_or("none".to_owned(), facts)),
            Call::Delete => words(client.delete(home, &key).await, |()| "deleted".to_owned()),
            Call::Probe => {
                let secret = Secret::new(PAIR_SECRET.to_owned());
                words(client.probe(home, &key, &secret, None).await, |verdict| format!("{verdict:?}"))
            }
            Call::Standing => words(client.standing(home).await, |standing| format!("{standing:?}")),
        }
    }
}

fn facts(facts: &KeyFacts) -> String {
    let label = match facts.label.as_deref() {
        Some(LABEL) => "LABEL",
        Some(other) => other,
        None => "-",
    };
    format!("{} {label} {}", facts.sid, facts.created_at)
}

fn words<T>(outcome: Outcome<T>, show: impl Fn(T) -> String) -> String {
    match outcome {
        Outcome::Done(value) => format!("done: {}", show(value)),
        Outcome::NotDone(failure) => format!("not done: {failure}"),
        Outcome::Unknown(failure) => format!("unknown: {failure}"),
    }
}

/// One line of a table: what the server does, and the outcome. An outcome that ends in `…` may go on.
pub(crate) type Row = (&'static str, Vec<Act>, &'static str);

/// Makes the call once per row, each against a server of its own, and shows all rows that came out wrong.
pub(crate) async fn check(call: Call, rows: Vec<Row>) {
    let wrong: Vec<_> =
        join_all(rows.into_iter().map(|row| check_row(call, row))).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

async fn check_row(call: Call, (name, acts, expected): Row) -> Option<String> {
    let pause = Duration::from_secs(1);
    let slow = acts.iter().any(|act| matches!(act, Act::Wait(time) if *time > pause) || matches!(act, Act::Drip(..)));
    let impatient = Deadlines { total: Duration::from_millis(300), ..Deadlines::default() };
    let wire = Wire::always(acts).await;
    let client = client_with(wire.url(), if slow { impatient } else { Deadlines::default() });
    let found = call.make(&client).await;
    assert!(!found.contains("Canary"), "{call:?}, {name}: {found}");
    // None at all if the machine was so busy that a short deadline passed before the request left.
    assert!(wire.requests().len() <= 1, "{call:?}, {name}: one call is one request, whatever comes back");
    let right = match expected.strip_suffix('…') {
        Some(beginning) => found.starts_with(beginning),
        None => found == expected,
    };
    (!right).then(|| format!("{call:?}, {name}\n  expected {expected}\n  found    {found}"))
}

#[test]
fn the_label_of_these_tests_is_the_one_in_their_answers() {
    assert_eq!(label().to_string(), LABEL);
}
