//! `kill -9` at every point: before and after each call that changes the world and each entry of the journal, for both
//! journals and both stores, in the first rotation, in the second, and in the recovery from a death before.

use super::ground::{CALM, Ground, HASTY, Keys, Ledger, Store};
use super::process::Daemon;
use crate::support::counted::counted;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many installations are ill-treated at the same time.
const AT_ONCE: usize = 20;
/// The same of those that wait for most of the time.
pub const PATIENT: usize = 40;

/// Where the journal lies, where the secret is served, and what is rotated.
type Setting = (Ledger, Store, Keys);

/// Plays many lives, so many at a time, and adds up what they answer; fails at the end if one of them did.
pub async fn many<T, Life>(items: Vec<T>, play: impl Fn(T) -> Life) -> usize
where
    Life: Future<Output = usize> + Send + 'static,
{
    so_many(AT_ONCE, items, play).await
}

/// The same, as many at a time as is said.
pub async fn so_many<T, Life>(at_once: usize, items: Vec<T>, play: impl Fn(T) -> Life) -> usize
where
    Life: Future<Output = usize> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_once));
    let mut lives = JoinSet::new();
    for life in items.into_iter().map(play) {
        let places = places.clone();
        lives.spawn(async move {
            let _place = places.acquire_owned().await;
            life.await
        });
    }
    let (mut sum, mut failed) = (0, 0);
    while let Some(life) = lives.join_next().await {
        // What went wrong was said when it did; the others still have their say.
        life.map_or_else(|_| failed += 1, |answer| sum += answer);
    }
    assert_eq!(failed, 0, "so many of the lives failed");
    sum
}

/// The points that a daemon came past, by name.
pub fn points(daemon: &Daemon) -> Vec<String> {
    daemon.lines("point").iter().map(|line| line["point"].as_str().unwrap().to_owned()).collect()
}

/// The points of the first rotation and the whole of the second.
pub async fn of_two_rotations(setting: Setting) -> Vec<String> {
    let ground = Ground::of(setting.0, setting.1, setting.2).await;
    let mut daemon = ground.start(&HASTY, "points");
    let last = "after append completed";
    daemon.until("two rotations", |daemon| points(daemon).iter().filter(|point| *point == last).count() == 2).await;
    let mut points = points(&daemon);
    points.truncate(points.iter().rposition(|point| point == last).unwrap() + 1);
    drop(daemon);
    ground.expect_sound(&HASTY, "undisturbed").await;
    ground.clear().await;
    points
}

/// Installations whose daemon was killed after a create, before anybody knew of it.
async fn bereft(setting: Setting, create: usize) -> Ground {
    let ground = Ground::of(setting.0, setting.1, setting.2).await;
    let daemon = ground.start(&HASTY, &format!("crash:{create}"));
    daemon.until_killed("after the create").await;
    ground.a_minute_passes().await;
    ground
}

/// The points of the recovery from such a death.
async fn of_recovery(setting: Setting, create: usize) -> Vec<String> {
    let ground = bereft(setting, create).await;
    let mut daemon = ground.start(&CALM, "points");
    ground.until_at_rest(&mut daemon).await;
    let points = points(&daemon);
    drop(daemon);
    ground.expect_sound(&CALM, "undisturbed recovery").await;
    ground.clear().await;
    points
}

/// A daemon that was killed is followed by one that is not, and that comes to rest.
async fn goes_on(ground: Ground, what: &str) {
    ground.a_minute_passes().await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, what).await;
    ground.clear().await;
}

/// Killed at this point; with the number of a create, in the recovery from a death after that. How many were killed.
async fn killed_at(setting: Setting, number: usize, point: String, create: Option<usize>) -> usize {
    let what = format!("killed at {number}, {point}, after {create:?}");
    let (ground, terms) = match create {
        Some(create) => (bereft(setting, create).await, CALM),
        None => (Ground::of(setting.0, setting.1, setting.2).await, HASTY),
    };
    ground.start(&terms, &format!("crash:{number}")).until_killed(&what).await;
    goes_on(ground, &what).await;
    1 + usize::from(create.is_some())
}

async fn killed_everywhere(setting: Setting) {
    let points = of_two_rotations(setting).await;
    let named: BTreeSet<&str> = points.iter().map(String::as_str).collect();
    let end = if setting.2 == Keys::Token { "promote" } else { "delete" };
    for act in ["create", "publish", end, "append intended", "append created", "append condemned"] {
        for point in [format!("before {act}"), format!("after {act}")] {
            assert!(named.contains(point.as_str()), "no {point} among {points:#?}");
        }
    }
    let create = 1 + points.iter().rposition(|point| point == "after create").unwrap();
    let again = of_recovery(setting, create).await;
    assert!(again.iter().any(|point| point == "before fence"), "no fence in the recovery: {again:#?}");

    let discards = again.iter().any(|point| point == "before discard");
    assert_eq!(discards, setting.2 == Keys::Token, "what ends a token that was given up: {again:#?}");

    let deaths = (1..).zip(points).map(|(number, point)| (number, point, false));
    let deaths: Vec<_> = deaths.chain((1..).zip(again).map(|(number, point)| (number, point, true))).collect();
    let lives = deaths.len();
    let kills = many(deaths, move |(number, point, again)| killed_at(setting, number, point, again.then_some(create)));
    let kills = kills.await;
    counted("kills", kills);
    counted("torture runs", lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_sqlite_and_openbao() {
    killed_everywhere((Ledger::Sqlite, Store::Vault, Keys::Standard)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_sqlite_and_secrets_manager() {
    killed_everywhere((Ledger::Sqlite, Store::Aws, Keys::Standard)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_postgresql_and_openbao() {
    killed_everywhere((Ledger::Postgres, Store::Vault, Keys::Standard)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_postgresql_and_secrets_manager() {
    killed_everywhere((Ledger::Postgres, Store::Aws, Keys::Standard)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_restricted_keys() {
    killed_everywhere((Ledger::Sqlite, Store::Vault, Keys::Restricted)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_key_pairs() {
    killed_everywhere((Ledger::Sqlite, Store::Vault, Keys::Pair)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_auth_tokens() {
    killed_everywhere((Ledger::Sqlite, Store::Vault, Keys::Token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_point_with_auth_tokens_and_a_server_for_the_journal() {
    killed_everywhere((Ledger::Postgres, Store::Aws, Keys::Token)).await;
}
