//! Keys belong to one region: what is asked of one goes to its host, with what belongs to it, and nowhere else.

use super::{Call, MAIN_ACCOUNT, MAIN_SECRET, home, key};
use crate::support::wire::{Wire, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::policy::{Access, Admin, SecretSource, TwilioPolicy};
use rekeyd::model::secret::Secret;
use rekeyd::ports::Issuer as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use url::Url;

fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

fn main_key(digit: char) -> KeySid {
    KeySid::new(&format!("SK{}", digit.to_string().repeat(32))).unwrap()
}

/// Managed with the key of this digit.
fn access(account: &AccountSid, name: &str, base_url: Url, digit: char) -> Access {
    let (key, secret) = (Some(main_key(digit)), SecretSource::Env(digit.to_string()));
    let admin = Admin { account: account.clone(), key, secret, pkcv: None };
    Access { region: region(name), base_url, admin, pkcv: None }
}

/// The main account in two regions; another account, which lives in `ie1`, with keys of its own there and in `au1`.
async fn wires() -> ([Wire; 4], TwilioClient) {
    let refuse = || Wire::always(json(400, r#"{"code":1,"message":"no"}"#));
    let wires = [refuse().await, refuse().await, refuse().await, refuse().await];
    let (main, other) = (AccountSid::new(MAIN_ACCOUNT).unwrap(), home().account);
    let at = |index: usize| wires[index].url();
    let there = Home { account: other.clone(), region: region("au1") };
    let policy = TwilioPolicy {
        account: main.clone(),
        access: access(&main, "us1", at(0), '1'),
        regions: BTreeMap::from([(region("ie1"), access(&main, "ie1", at(1), '2'))]),
        accounts: BTreeMap::from([(other.clone(), access(&other, "ie1", at(2), '3'))]),
        homes: BTreeMap::from([(there, access(&other, "au1", at(3), '4'))]),
        key_pairs: BTreeSet::new(),
    };
    let read = |source: &SecretSource| {
        let SecretSource::Env(digit) = source else { panic!("{source:?}") };
        Ok(Secret::new(format!("{MAIN_SECRET}{digit}")))
    };
    let client = TwilioClient::new(&policy, &read, Arc::new(SystemClock::new())).unwrap();
    (wires, client)
}

#[tokio::test]
async fn each_call_goes_to_the_host_of_its_region_with_the_key_of_its_region() {
    let (main, other) = (AccountSid::new(MAIN_ACCOUNT).unwrap(), home().account);
    for (account, name, expected, digit) in [
        (&main, "us1", 0, '1'),
        (&main, "ie1", 1, '2'),
        (&other, "us1", 0, '1'),
        (&other, "ie1", 2, '3'),
        (&other, "au1", 3, '4'),
    ] {
        let home = Home { account: account.clone(), region: region(name) };
        for call in Call::ALL {
            let (wires, client) = wires().await;
            call.make_in(&client, &home).await;
            let user = if call == Call::Probe { key() } else { main_key(digit) };
            for (index, wire) in wires.iter().enumerate() {
                let requests = wire.requests();
                assert_eq!(requests.is_empty(), index != expected, "{call:?} of {home} at {index}");
                let basic = requests.first().and_then(|request| request.header("authorization")).unwrap_or_default();
                let decoded = STANDARD.decode(basic.trim_start_matches("Basic ")).unwrap();
                let came = String::from_utf8(decoded).unwrap();
                assert!(index != expected || came.starts_with(user.as_str()), "{call:?} of {home}: {came}");
                assert!(
                    index != expected || call == Call::Probe || came.ends_with(digit),
                    "{call:?} of {home}: {came}"
                );
            }
        }
    }
}

#[tokio::test]
async fn where_nothing_is_named_nothing_is_sent() {
    let main = AccountSid::new(MAIN_ACCOUNT).unwrap();
    let home = Home { account: main, region: region("au1") };
    for call in Call::ALL {
        let (wires, client) = wires().await;
        let told = call.make_in(&client, &home).await;
        assert_eq!(told, format!("not done: local: nothing is named that manages the keys of {home}"), "{call:?}");
        assert!(wires.iter().all(|wire| wire.requests().is_empty()), "{call:?}");
    }
}

#[tokio::test]
async fn the_keys_that_manage_others_are_spared_in_every_region() {
    let (wires, client) = wires().await;
    let main = AccountSid::new(MAIN_ACCOUNT).unwrap();
    let roots = client.roots();
    assert_eq!(roots.len(), 4);
    assert_eq!(roots[&main_key('2')], Home { account: main.clone(), region: region("ie1") });
    assert_eq!(roots[&main_key('4')], Home { account: home().account, region: region("au1") });
    for sid in roots.keys() {
        for name in ["us1", "ie1"] {
            let home = Home { account: main.clone(), region: region(name) };
            assert!(client.delete(&home, sid).await.fault().is_some(), "{sid}");
        }
    }
    assert!(wires.iter().all(|wire| wire.requests().is_empty()));
}
