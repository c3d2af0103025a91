//! Makes the call of a case through the real adapter, and puts its outcome into words.

use super::Case;
use crate::sinks::vault::{engine, secret_file, token_from};
use crate::sinks::{place, sid};
use crate::support::emulator;
use crate::support::wire::{Request, Wire};
use crate::twilio::{Call, client_with};
use rekeyd::adapters::aws::SecretsManager;
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::{Content, Names, Pair, Stamp};
use rekeyd::model::fault::Outcome;
use rekeyd::model::key::{AccountSid, AttemptId};
use rekeyd::model::names::{CredentialName, Instance, Version};
use rekeyd::model::policy::{SecretSource, VaultAuth};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Reading, Sink, Written};
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// What a call may take where the server lets it wait.
const SHORT: Duration = Duration::from_millis(400);
/// What the sinks are to hold.
pub(crate) const SECRET: &str = "CanaryPublished4";

/// The outcome of a case, and how many requests it took if that is not what was to be expected.
pub(crate) async fn outcome(case: &Case) -> String {
    let answers = Arc::new(case.answers.clone());
    let wire = Wire::start(move |request: &Request| answers.get(request.number).cloned().unwrap_or_default()).await;
    let found = made(case, &wire.url()).await;
    assert!(!found.contains("Canary"), "{}, {}: {found}", case.call, case.name);
    assert!(!found.contains(char::is_control), "{}, {}: {found:?}", case.call, case.name);
    let (asked, expected) = (wire.requests().len(), case.asked.unwrap_or(case.answers.len()));
    // The last one may not have left before a short deadline passed, where the machine is busy.
    if asked == expected || case.is_slow() { found } else { format!("{found} (after {asked} requests)") }
}

async fn made(case: &Case, url: &Url) -> String {
    let deadlines = match case.is_slow() {
        true => Deadlines { total: SHORT, ..Deadlines::default() },
        false => Deadlines::default(),
    };
    let words: Vec<_> = case.call.split(' ').collect();
    let call = match words.as_slice() {
        ["create"] => Call::Create,
        ["list"] => Call::List,
        ["fetch"] => Call::Fetch,
        ["delete"] => Call::Delete,
        ["probe"] => Call::Probe,
        ["standing"] => Call::Standing,
        ["vault", rest @ ..] => {
            let file = secret_file("canary-token");
            return sunk(&vault(url, token_from(&file), deadlines), rest).await;
        }
        ["role", rest @ ..] => {
            let file = secret_file("CanarySecretId");
            let secret_id = SecretSource::File(file.path().to_owned());
            let auth = VaultAuth::AppRole { mount: "approle".to_owned(), role_id: "role".to_owned(), secret_id };
            return sunk(&vault(url, auth, deadlines), rest).await;
        }
        ["aws", rest @ ..] => return sunk(&secrets_manager(url, case.is_slow()), rest).await,
        other => panic!("{other:?} is no call"),
    };
    call.make(&client_with(url.clone(), deadlines)).await
}

fn vault(url: &Url, auth: VaultAuth, deadlines: Deadlines) -> Vault {
    let http = http::client(&Base::new(url).unwrap(), None, deadlines, Connections::Kept).unwrap();
    Vault::new(http, &engine(url.as_str(), "secret", auth)).unwrap()
}

fn secrets_manager(url: &Url, slow: bool) -> SecretsManager {
    let config = emulator::config(url.as_str(), "GOOD");
    let total = if slow { SHORT } else { Duration::from_secs(20) };
    let timeouts = aws_config::timeout::TimeoutConfig::builder().operation_timeout(total).build();
    SecretsManager::new(&config.into_builder().timeout_config(timeouts).build())
}

fn attempt() -> AttemptId {
    AttemptId(Uuid::from_u128(42))
}

fn pair() -> Pair {
    Pair {
        account: AccountSid::new(crate::twilio::ACCOUNT).unwrap(),
        sid: sid(255),
        secret: Secret::new(SECRET.to_owned()),
        stamp: Stamp {
            instance: Instance::new("prod").unwrap(),
            credential: CredentialName::new("billing-sms").unwrap(),
            seq: 7,
            attempt: attempt(),
        },
        beside: None,
    }
}

async fn sunk(sink: &dyn Sink, call: &[&str]) -> String {
    let (place, names) = (place("billing"), Names::default());
    match call {
        ["read"] => words(sink.read(&place, &names, None).await, shown),
        ["read", "staged"] => words(sink.read(&place, &names, Some(attempt())).await, shown),
        ["publish", base] => words(sink.publish(&place, &names, &pair(), &Version((*base).to_owned())).await, written),
        ["fence", base] => words(sink.fence(&place, &names, attempt(), &Version((*base).to_owned())).await, written),
        other => panic!("{other:?} is no call to a sink"),
    }
}

/// What a reading says; of secrets only whether there is one.
pub(crate) fn shown(reading: Reading) -> String {
    let Reading { seen, secret, staged } = reading;
    let content = match seen.content {
        Content::Absent => "nothing".to_owned(),
        Content::Blank => "no key".to_owned(),
        Content::Foreign => "something else".to_owned(),
        Content::Pair { sid, stamp } => {
            let stamp = stamp.map_or("without a stamp".to_owned(), |stamp| format!("stamped {stamp}"));
            let secret = if secret.is_some() { "with a secret" } else { "without a secret" };
            format!("{sid} {secret}, {stamp}")
        }
    };
    assert_eq!(seen.staged, staged.is_some());
    let staged = if seen.staged { ", the attempt lies staged" } else { "" };
    format!("version {} holds {content}{staged}", seen.version)
}

fn written(written: Written) -> String {
    match written {
        Written::At(version) => format!("written as version {version}"),
        Written::Conflict => "another version was there".to_owned(),
    }
}

fn words<T>(outcome: Outcome<T>, show: impl Fn(T) -> String) -> String {
    match outcome {
        Outcome::Done(value) => format!("done: {}", show(value)),
        Outcome::NotDone(failure) => format!("not done: {failure}"),
        Outcome::Unknown(failure) => format!("unknown: {failure}"),
    }
}
