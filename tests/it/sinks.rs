//! The contract that every sink keeps, fake and real, and what each kind of sink has to answer for beside it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test fails where it expects otherwise")]

#[macro_use]
mod contract;
mod confined;
mod directory;
mod fake;
pub(crate) mod kubernetes;
mod kubernetes_faults;
mod secrets_manager;
mod secrets_manager_faults;
mod secrets_manager_making;
pub(crate) mod vault;
mod vault_faults;
mod vault_logins;
mod vault_metadata;
mod vault_renewal;
mod vault_session;
pub(crate) mod workloads;

use rekeyd::model::document::{Content, Names, Pair, Stamp};
use rekeyd::model::fault::{Failure, Outcome};
use rekeyd::model::key::{AccountSid, AttemptId, KeySid};
use rekeyd::model::names::{CredentialName, Instance, Place, SinkName, Version};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Reading, Sink, Written};
use uuid::Uuid;

/// A place that no other test uses.
pub(crate) fn fresh_place() -> Place {
    place(&format!("twilio-{}", attempt().0.simple()))
}

pub(crate) fn place(path: &str) -> Place {
    Place::new(SinkName::new("sink").unwrap(), path)
}

/// An attempt that never was.
pub(crate) fn attempt() -> AttemptId {
    AttemptId(Uuid::new_v4())
}

/// A key pair with a number, which shows in its SID and its secret.
pub(crate) fn pair(number: u64) -> Pair {
    Pair {
        account: AccountSid::new("AC00000000000000000000000000000001").unwrap(),
        sid: sid(number),
        secret: Secret::new(format!("canary{number}{number}{number}{number}")),
        stamp: Stamp {
            instance: Instance::new("prod").unwrap(),
            credential: CredentialName::new("billing").unwrap(),
            seq: number,
            attempt: attempt(),
        },
        beside: None,
    }
}

pub(crate) fn sid(number: u64) -> KeySid {
    KeySid::new(&format!("SK{number:032x}")).unwrap()
}

/// What a place shows under the usual names.
pub(crate) async fn look(sink: &dyn Sink, place: &Place) -> Reading {
    sink.read(place, &Names::default(), None).await.answer().unwrap()
}

pub(crate) async fn version(sink: &dyn Sink, place: &Place) -> Version {
    look(sink, place).await.seen.version
}

pub(crate) async fn publish(sink: &dyn Sink, place: &Place, pair: &Pair, base: &Version) -> Outcome<Written> {
    sink.publish(place, &Names::default(), pair, base).await
}

/// Publishes over what is there, and expects that to succeed.
pub(crate) async fn put_pair(sink: &dyn Sink, place: &Place, pair: &Pair) -> Version {
    let base = version(sink, place).await;
    at(publish(sink, place, pair, &base).await)
}

pub(crate) async fn fence(sink: &dyn Sink, place: &Place, attempt: AttemptId, base: &Version) -> Outcome<Written> {
    sink.fence(place, &Names::default(), attempt, base).await
}

/// The version of a write that was done.
#[track_caller]
pub(crate) fn at(outcome: Outcome<Written>) -> Version {
    match outcome {
        Outcome::Done(Written::At(version)) => version,
        other => panic!("written expected, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn conflict(outcome: Outcome<Written>) {
    assert!(matches!(outcome, Outcome::Done(Written::Conflict)), "a conflict expected, got {outcome:?}");
}

#[track_caller]
pub(crate) fn not_done<T>(outcome: Outcome<T>) -> Failure {
    match outcome {
        Outcome::NotDone(failure) => failure,
        Outcome::Unknown(failure) => panic!("not done expected, got unknown: {failure}"),
        Outcome::Done(_) => panic!("not done expected, got done"),
    }
}

#[track_caller]
pub(crate) fn unknown<T>(outcome: Outcome<T>) -> Failure {
    match outcome {
        Outcome::Unknown(failure) => failure,
        Outcome::NotDone(failure) => panic!("unknown expected, got not done: {failure}"),
        Outcome::Done(_) => panic!("unknown expected, got done"),
    }
}

/// The place serves exactly this pair.
#[track_caller]
pub(crate) fn serves(reading: &Reading, pair: &Pair) {
    assert_eq!(reading.seen.content, Content::Pair { sid: pair.sid.clone(), stamp: Some(pair.stamp.clone()) });
    assert_eq!(reading.secret.as_ref().map(Secret::expose), Some(pair.secret.expose()));
}
