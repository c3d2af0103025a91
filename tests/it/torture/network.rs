//! Networks that carry a request out and lose the answer, or deliver it twice, between the real binary and the real
//! counterparts; a death in the middle of a call; and the sandbox over TLS.

use super::ground::{CALM, Ground, HASTY, Ledger, Store, Terms};
use super::kills::many;
use crate::support::authority::{Authority, Front};
use crate::support::counted::counted;
use crate::support::proxy::{Fate, Proxy};
use crate::support::{emulator, openbao};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};

/// A proxy before the sink, and the terms by which a daemon goes through it.
async fn before(store: Store, times: usize, text: &'static str, fate: Fate) -> (Proxy, Terms) {
    let upstream = match store {
        Store::Vault => openbao::shared().port,
        Store::Aws => emulator::shared().port,
    };
    let proxy = Proxy::for_the_first(times, upstream, text, fate).await;
    let url = Some(proxy.url.clone());
    let terms = match store {
        Store::Vault => Terms { vault: url, ..CALM },
        Store::Aws => Terms { aws: url, ..CALM },
    };
    (proxy, terms)
}

/// What writes: of Vault the request line, of Secrets Manager the operation.
const WRITES: [(Store, &str); 3] = [
    (Store::Vault, "POST /v1/secret/data/"),
    (Store::Aws, "secretsmanager.PutSecretValue"),
    (Store::Aws, "secretsmanager.UpdateSecretVersionStage"),
];

/// Two rotations through a network that does this to the first three such writes.
async fn through(store: Store, text: &'static str, fate: Fate) -> usize {
    let what = format!("{fate:?} for three of {text}");
    let ground = Ground::new(Ledger::Sqlite, store).await;
    let (proxy, terms) = before(store, 3, text, fate).await;
    let mut daemon = ground.start(&terms, "");
    ground.until_at_rest(&mut daemon).await;
    ground.rotated(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&terms, &what).await;
    assert!(proxy.chosen() >= 1, "{what}: it never came to that");
    1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_or_that_arrives_twice_is_found_out() {
    let lives =
        WRITES.iter().flat_map(|(store, text)| [Fate::AnswerLost, Fate::Twice].map(|fate| (*store, *text, fate)));
    let lives = many(lives.collect(), |(store, text, fate)| through(store, text, fate)).await;
    assert_eq!(lives, 6);
    counted("torture runs", lives);
}

/// Dies while the answer to a write that was carried out is on its way: for Secrets Manager, also between its two halves.
async fn killed_in(store: Store, text: &'static str) -> usize {
    let ground = Ground::new(Ledger::Sqlite, store).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    assert!(ground.run(&["rotate", super::ground::NAME]).status.success());
    let (proxy, terms) = before(store, 1, text, Fate::Silence).await;
    let mut daemon = ground.start(&terms, "");
    daemon.until(text, |_| proxy.chosen() == 1).await;
    drop(daemon);
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, text).await;
    1
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_answer_to_a_write_is_on_its_way() {
    let kills = many(WRITES.to_vec(), |(store, text)| killed_in(store, text)).await;
    counted("kills", kills);
    counted("torture runs", kills);
}

/// A rotation in which the next such calls to Twilio meet a fault.
async fn twilio_at_fault(operation: Operation, fault: Fault) -> usize {
    let what = format!("{operation:?}: {fault:?}");
    let ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    ground.sandbox.world().lock().script.add([Line { times: 2, ..Line::next(operation, fault) }]);
    ground.rotated(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, &what).await;
    let met = ground.sandbox.world().lock().audit().entries().filter(|call| call.fault == Some(fault)).count();
    assert!(met >= 1, "{what}: it never came to that");
    1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_or_delete_whose_answer_is_lost_or_that_comes_late_or_twice_is_found_out() {
    let lives = [
        (Operation::CreateKey, Fault::Lost),
        (Operation::CreateKey, Fault::Late { ms: 400 }),
        (Operation::DeleteKey, Fault::Lost),
        (Operation::DeleteKey, Fault::Late { ms: 400 }),
        (Operation::DeleteKey, Fault::Twice),
    ];
    let lives = many(lives.to_vec(), |(operation, fault)| twilio_at_fault(operation, fault)).await;
    counted("torture runs", lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_created_twice_by_one_request_is_reported_and_none_of_the_two_is_taken_for_the_other() {
    let ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    ground.sandbox.world().lock().script.add([Line::next(Operation::CreateKey, Fault::Twice)]);
    let before = ground.served().await;
    assert!(ground.run(&["rotate", super::ground::NAME]).status.success());
    daemon.until("three keys, and one that nobody can explain", |_| ground.living().len() == 3).await;
    while ground.living().len() != 2 || ground.served().await == before {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(ground.living().len(), 2, "the twin is a person's to remove\n{}", daemon.last_words());
    let metrics = daemon.metrics().await.unwrap();
    let told = metrics.lines().any(|line| line.starts_with("rekeyd_unexplained_keys{") && line.ends_with(" 1"));
    assert!(told, "{metrics}");
    drop(daemon);
    ground.expect_sound(&CALM, "a twin").await;
    counted("torture runs", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_over_tls_serves_rotations_and_a_recovery() {
    let mut ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let port = ground.sandbox.url().rsplit(':').next().unwrap().parse().unwrap();
    let authority = Authority::new("of the sandbox");
    let front = Front::start(&authority, port).await;
    let hasty = Terms { twilio: Some(front.url.clone()), ..HASTY };
    // Nobody has told it to trust this authority yet: nothing may be sent.
    let mut daemon = ground.start(&hasty, "");
    daemon.until("it is told apart", |daemon| daemon.said().contains("certificate")).await;
    drop(daemon);
    assert_eq!(ground.sandbox.world().lock().audit().entries().count(), 0, "something was sent to a stranger");

    ground.environment.push(("SSL_CERT_FILE", authority.file.path().display().to_string()));
    ground.start(&hasty, "crash:4").until_killed("after the create, over TLS").await;
    let calm = Terms { rotate_every: "1h", ..hasty };
    let mut daemon = ground.start(&calm, "");
    ground.until_at_rest(&mut daemon).await;
    ground.rotated(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&calm, "over TLS").await;
    counted("kills", 1);
    counted("torture runs", 1);
}
