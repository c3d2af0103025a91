//! What people and tests in other processes do to the sandbox: look into it, and make it mean.

use super::super::accounts::Account;
use super::super::audit::Entry;
use super::super::call::{Operation, Status};
use super::super::faults::Faults;
use super::super::keys::{Key, KeyKind, NewKey};
use super::super::script::Line;
use super::super::world::World;
use super::Handle;
use crate::model::key::{AccountSid, KeySid};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything under `/_sandbox`. Nothing here counts as a call, and no fault touches it.
pub(super) fn router() -> Router<Handle> {
    Router::new()
        .route("/state", get(state))
        .route("/audit", get(audit))
        .route("/faults", put(set_faults))
        .route("/script", post(add_to_script).delete(clear_script))
        .route("/keys", post(make_key))
        .route("/keys/{sid}", delete(delete_key))
        .route("/accounts/{sid}", post(set_status))
        .fallback(unknown)
}

/// `GET /_sandbox/state`: accounts and keys without their secrets, what is on its way, the settings, and counters.
async fn state(State(handle): State<Handle>) -> Json<Value> {
    let (now, mut world) = (handle.now(), handle.lock());
    world.settle(now);
    let accounts: Vec<Value> = world.accounts().map(|account| show_account(&world, account)).collect();
    let on_its_way: Vec<Value> =
        world.on_its_way().map(|(due, operation)| json!({"due": due, "operation": operation})).collect();
    Json(json!({
        "now": now, "accounts": accounts, "on_its_way": on_its_way,
        "faults": world.faults, "script": world.script.lines().collect::<Vec<_>>(),
        "calls": counters(&world), "dead_pairs": world.audit().dead_pairs().count(),
    }))
}

fn show_account(world: &World, account: &Account) -> Value {
    let mut keys: Vec<&Key> = world.keys().filter(|key| key.account == account.sid).collect();
    keys.sort_by_key(|key| key.serial);
    let keys: Vec<Value> = keys.into_iter().map(show_key).collect();
    json!({
        "sid": account.sid, "parent": account.parent, "friendly_name": account.name,
        "status": account.status, "pkcv": account.pkcv, "mails": account.mails, "keys": keys,
    })
}

fn show_key(key: &Key) -> Value {
    json!({
        "sid": key.sid, "region": key.region, "type": key.kind, "friendly_name": key.name,
        "made_at": key.made_at, "made_by": key.made_by,
        "works_from": key.works_from, "deleted": key.deleted,
    })
}

fn counters(world: &World) -> Vec<Value> {
    let mut counts: BTreeMap<(Operation, u16), u64> = BTreeMap::new();
    for entry in world.audit().entries() {
        *counts.entry((entry.operation, entry.status)).or_default() += 1;
    }
    let show = |((operation, status), count)| json!({"operation": operation, "status": status, "count": count});
    counts.into_iter().map(show).collect()
}

/// `GET /_sandbox/audit`: every call, oldest first.
async fn audit(State(handle): State<Handle>) -> Json<Value> {
    let world = handle.lock();
    let entries: Vec<&Entry> = world.audit().entries().collect();
    Json(json!({"forgotten": world.audit().forgotten(), "entries": entries}))
}

/// `PUT /_sandbox/faults`: new settings; those that are not given are kind.
async fn set_faults(State(handle): State<Handle>, Json(faults): Json<Faults>) -> Json<Faults> {
    handle.lock().faults = faults.clone();
    Json(faults)
}

/// `POST /_sandbox/script`: more lines, after those that are still to come.
async fn add_to_script(State(handle): State<Handle>, Json(lines): Json<Vec<Line>>) -> StatusCode {
    handle.lock().script.add(lines);
    StatusCode::NO_CONTENT
}

/// `DELETE /_sandbox/script`: forgets the lines that are still to come.
async fn clear_script(State(handle): State<Handle>) -> StatusCode {
    handle.lock().script.clear();
    StatusCode::NO_CONTENT
}

/// A key that a human makes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandMade {
    account: AccountSid,
    r#type: KeyKind,
    #[serde(default)]
    friendly_name: Option<String>,
}

/// `POST /_sandbox/keys`: a human makes a key in the Console; the answer has its secret.
async fn make_key(State(handle): State<Handle>, Json(wanted): Json<HandMade>) -> Response {
    let (now, mut world) = (handle.now(), handle.lock());
    if !world.accounts().any(|account| account.sid == wanted.account) {
        return missing(&format!("there is no account {}", wanted.account));
    }
    let (account, kind, name) = (wanted.account, wanted.r#type, wanted.friendly_name);
    let sid = world.make_by_hand_in(now, handle.region.clone(), NewKey { account, kind, name, pair: None });
    let secret = world.key(&sid).map(|key| key.secret.expose());
    (StatusCode::CREATED, Json(json!({"sid": sid, "secret": secret}))).into_response()
}

/// `DELETE /_sandbox/keys/{sid}`: a human deletes a key in the Console.
async fn delete_key(State(handle): State<Handle>, Path(sid): Path<KeySid>) -> Response {
    let now = handle.now();
    let deleted = handle.lock().delete_by_hand(now, &sid);
    if deleted { StatusCode::NO_CONTENT.into_response() } else { missing(&format!("there is no living key {sid}")) }
}

/// What becomes of an account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fate {
    status: Option<Status>,
    /// Whether requests have to be signed.
    pkcv: Option<bool>,
}

/// `POST /_sandbox/accounts/{sid}`: Twilio suspends, closes or reactivates an account, or its owner has signed requests
/// enforced.
async fn set_status(State(handle): State<Handle>, Path(sid): Path<AccountSid>, Json(fate): Json<Fate>) -> Response {
    let mut world = handle.lock();
    let found = world.accounts().any(|account| account.sid == sid);
    if let Some(status) = fate.status {
        world.set_status(&sid, status);
    }
    if let Some(enforced) = fate.pkcv {
        world.enforce_signatures(&sid, enforced);
    }
    if found { StatusCode::NO_CONTENT.into_response() } else { missing(&format!("there is no account {sid}")) }
}

async fn unknown() -> Response {
    missing(
        "there is: GET state, GET audit, PUT faults, POST or DELETE script, POST keys, DELETE keys/SID, POST accounts/SID",
    )
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": what}))).into_response()
}
