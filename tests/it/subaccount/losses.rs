//! Answers that are lost, calls that fail, and things that nobody expected.

use super::Site;
use rekeyd::engine::subaccount::Stopped;
use rekeyd::model::fault::Fault as Failed;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{ErrorStatus, Fault, Faults, Line, Random, Rate, Reach};

const CALLS: [Operation; 9] = [
    Operation::CreateAccount,
    Operation::ListAccounts,
    Operation::UpdateAccount,
    Operation::CreateKey,
    Operation::ListKeys,
    Operation::DeleteKey,
    Operation::CreatePublicKey,
    Operation::ListPublicKeys,
    Operation::ListNumbers,
];

fn after(operation: Operation, fault: Fault) -> Vec<Line> {
    vec![Line::next(operation, fault)]
}

/// Repeats the command until it ends well.
async fn persist(site: &Site, what: &str) {
    for _ in 0..30 {
        match site.finish().await {
            Ok(_) => return,
            Err(Stopped::Failed { .. }) => (),
            Err(other) => panic!("{what}: {other}"),
        }
    }
    panic!("{what}: it never ended");
}

#[tokio::test]
async fn one_answer_of_each_call_may_be_lost() {
    let server_error = Fault::ErrorAfter { status: ErrorStatus::INTERNAL };
    for operation in CALLS {
        for fault in [Fault::Lost, Fault::Cut, Fault::Malformed, server_error, Fault::RateLimited] {
            let site = Site::enforcing(Faults::default()).await;
            site.sandbox.world().lock().script.add(after(operation, fault));
            let what = format!("{operation:?} {fault:?}");
            persist(&site, &what).await;
            site.check(&what);
        }
    }
}

#[tokio::test]
async fn one_answer_in_five_may_be_lost_or_refused() {
    for seed in 0..10 {
        let random = |fault| Random { fault, rate: Rate::new(0.1).unwrap(), operation: None };
        let random = vec![random(Fault::Lost), random(Fault::RateLimited)];
        let site = Site::enforcing_seeded(seed, Faults { random, ..Faults::default() }).await;
        persist(&site, "a bad day").await;
        site.check("a bad day");
    }
}

#[tokio::test]
async fn a_main_key_that_may_not_reach_into_subaccounts_is_told_and_leaves_one_account_to_go_on_with() {
    let site = Site::new(Faults { parent_main_key_on_subaccount: Reach::AccountsOnly, ..Faults::default() }).await;
    for _ in 0..2 {
        match site.finish().await {
            Err(Stopped::Failed { what, failure }) => {
                assert_eq!(failure.fault, Failed::Unauthorized, "{failure}");
                assert!(what.starts_with("no API key could be made in AC"), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
    let opened = site.sandbox.world().lock().accounts().filter(|account| account.parent.is_some()).count();
    assert_eq!(opened, 1);
    site.sandbox.world().lock().faults.parent_main_key_on_subaccount = Reach::AccountsAndKeys;
    site.finish().await.unwrap();
    site.check("when the Main key may");
}

#[tokio::test]
async fn two_accounts_with_one_mark_are_for_a_human() {
    let site = Site::enforcing(Faults::default()).await;
    let script =
        [Line::next(Operation::CreateAccount, Fault::Twice), Line::next(Operation::CreateAccount, Fault::Pass)];
    site.sandbox.world().lock().script.add(script);
    // The first answer is whole, so the second account is not noticed until somebody looks.
    let made = site.finish().await;
    assert!(made.is_ok(), "{made:?}");
    let lost = Site::enforcing(Faults::default()).await;
    lost.sandbox.world().lock().script.add(after(Operation::CreateAccount, Fault::Lost));
    let died = lost.make(&super::Death::at(3, false)).await;
    assert!(died.is_none());
    let twin = {
        let world = lost.sandbox.world().lock();
        let found = world.accounts().find(|account| account.parent.is_some()).map(|account| account.name.clone());
        found.unwrap()
    };
    let now = lost.sandbox.world().now();
    let parent = lost.sandbox.account_sid().clone();
    let second = lost.sandbox.world().lock().open_account(now, None, Some(parent));
    lost.sandbox.world().lock().name_account(&second, &twin);
    let Err(Stopped::Odd(message)) = lost.finish().await else { panic!("it went on") };
    assert!(message.contains("there are 2 subaccounts called") && message.contains(second.as_str()), "{message}");
}

#[tokio::test]
async fn a_key_that_was_made_twice_is_told_of_and_left() {
    let site = Site::enforcing(Faults::default()).await;
    site.sandbox.world().lock().script.add(after(Operation::CreateKey, Fault::Twice));
    let made = site.finish().await.unwrap();
    assert_eq!(made.remarks.len(), 1, "{:?}", made.remarks);
    let alive = |site: &Site| {
        let world = site.sandbox.world().lock();
        world.keys().filter(|key| key.account == made.account && key.deleted.is_none()).count()
    };
    assert!(made.remarks[0].contains("carries our mark") && made.remarks[0].starts_with("SK"));
    assert_eq!(alive(&site), 2, "a person may have made it");
}

#[tokio::test]
async fn what_is_not_ours_in_a_sink_is_left_and_told() {
    let site = Site::enforcing(Faults::default()).await;
    let file = site.path("two").join(format!("{}.json", super::NAME));
    std::fs::write(&file, r#"{"user": "theirs"}"#).unwrap();
    let Err(Stopped::Odd(message)) = site.finish().await else { panic!("it went on") };
    assert_eq!(message, format!("two:{}.json holds something that is not ours; it was left as it is", super::NAME));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"user": "theirs"}"#);
    std::fs::remove_file(&file).unwrap();
    site.finish().await.unwrap();
    site.check("when the place is free");
}

#[tokio::test]
async fn where_a_parent_is_not_shown_its_subaccounts_public_keys_a_lost_one_stays_and_does_no_harm() {
    let site = Site::enforcing(Faults { hide_public_keys_of_subaccounts: true, ..Faults::default() }).await;
    site.sandbox.world().lock().script.add(after(Operation::CreatePublicKey, Fault::Lost));
    let made = site.finish().await.unwrap();
    let world = site.sandbox.world().lock();
    let public: Vec<_> = world.public_keys().filter(|key| key.account == made.account && !key.deleted).collect();
    assert_eq!(public.len(), 2, "nobody has the private half of the first");
    assert!(made.remarks[0].contains("may have a public key rekeyd-seed:test:"), "{:?}", made.remarks);
}
