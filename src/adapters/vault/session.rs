//! Being signed in to Vault: with a token that somebody made, or with those that logins bring.
//!
//! **A login's token** is used for two thirds of its lease. Then it is renewed (`auth/token/renew-self`), and when the
//! server gives less than the first time, or refuses, another login replaces it: a renewed token still ends at its
//! `max_ttl`. While nobody answers, the token is used on for as long as it lasts. The secret id of an AppRole must
//! therefore allow any number of uses (`secret_id_num_uses = 0`). Nothing is sent before there is a token, so a failed
//! login has changed nothing.
//!
//! **A token of the policy** is read again for each call, because an agent may replace it. It is renewed too, by `tend`,
//! whoever else may do that: a renewal that was not needed does no harm, and a periodic token that nobody renews is dead
//! when the next rotation comes, a month later. While an agent keeps it fresh, it is never due, and nothing is sent. What
//! can not be renewed any more is told once, because only a person can replace it.

use super::super::json::{Object, object};
use super::lease::{Lease, Renewed};
use super::login::{granted, login, secret};
use super::wire::{Answer, Ask, Wire};
use crate::model::fault::{Failure, Outcome};
use crate::model::policy::VaultAuth;
use crate::model::secret::Secret;
use aws_lc_rs::digest;
use reqwest::{Request, StatusCode};
use rustify::Endpoint;
use rustify::enums::RequestMethod;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How often the file of a token is looked at; and no more than once a second is anything renewed.
const LOOK: Duration = Duration::from_secs(60);
const LEAST: Duration = Duration::from_secs(1);

/// How tokens are come by.
pub(super) struct Session {
    auth: VaultAuth,
    lease: Mutex<Option<Lease>>,
    /// The token of the policy that was last looked at, by its digest, and its lease; of the token itself nothing is kept.
    looked_at: Mutex<Option<([u8; 32], Lease)>>,
}

/// A token to send a request with.
struct Pass {
    token: Arc<Secret>,
    /// Whether it is from an earlier call, and may have been revoked since.
    kept: bool,
}

impl Session {
    pub(super) fn new(auth: VaultAuth) -> Self {
        Self { auth, lease: Mutex::new(None), looked_at: Mutex::new(None) }
    }

    /// Signs in if need be and sends the request. A kept token that Vault no longer accepts is replaced once: 403 says
    /// that nothing was done.
    pub(super) async fn call(&self, wire: &Wire, endpoint: impl Endpoint) -> Outcome<Answer> {
        match wire.request(endpoint) {
            Ok(request) => self.send(wire, request).await,
            Err(failure) => Outcome::NotDone(failure),
        }
    }

    /// The same for a request that is made already.
    pub(super) async fn send(&self, wire: &Wire, request: Request) -> Outcome<Answer> {
        let again = request.try_clone();
        let pass = match self.pass(wire).await {
            Ok(pass) => pass,
            Err(failure) => return Outcome::NotDone(failure),
        };
        match (wire.send(request, Some(pass.token.clone())).await, again) {
            (Outcome::Done(answer), Some(again)) if pass.kept && refused(&answer) => {
                self.forget(&pass).await;
                match self.pass(wire).await {
                    Ok(pass) => wire.send(again, Some(pass.token.clone())).await,
                    Err(failure) => Outcome::NotDone(failure),
                }
            }
            (outcome, _) => outcome,
        }
    }

    /// A token that should work.
    async fn pass(&self, wire: &Wire) -> Result<Pass, Failure> {
        if matches!(self.auth, VaultAuth::Token { .. }) {
            return Ok(Pass { token: login(wire, &self.auth).await?.token, kept: false });
        }
        let mut lease = self.lease.lock().await;
        if let Some(held) = lease.as_mut() {
            if held.is_due() && held.renewable && renew(wire, held).await.is_err() {
                held.try_later();
            }
            if held.lives() && !held.is_due() {
                return Ok(Pass { token: held.token.clone(), kept: true });
            }
        }
        match (login(wire, &self.auth).await, lease.as_mut()) {
            (Ok(new), _) => {
                let pass = Pass { token: new.token.clone(), kept: false };
                *lease = Some(new);
                Ok(pass)
            }
            (Err(failure), Some(held)) if held.lives() => {
                held.try_later();
                tracing::warn!(address = wire.address(), %failure, "no new token: the one there is is used on");
                Ok(Pass { token: held.token.clone(), kept: true })
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// Drops a token that was refused, unless another call has replaced it already.
    async fn forget(&self, pass: &Pass) {
        let mut lease = self.lease.lock().await;
        if lease.as_ref().is_some_and(|lease| Arc::ptr_eq(&lease.token, &pass.token)) {
            *lease = None;
        }
    }

    /// Renews the token if it is due; answers in how long this is to be called again.
    pub(super) async fn tend(&self, wire: &Wire) -> Duration {
        let VaultAuth::Token { token } = &self.auth else {
            let mut lease = self.lease.lock().await;
            return prolonged(wire, lease.as_mut(), || ()).await;
        };
        // What can not be read is told to the next call.
        let Ok(token) = secret(token).await else { return LOOK };
        let (digest, token) = (digest(&token), Arc::new(token));
        let mut looked_at = self.looked_at.lock().await;
        if looked_at.as_ref().is_none_or(|(of, _)| *of != digest) {
            *looked_at = known(wire, token.clone()).await.map(|lease| (digest, lease));
        }
        let Some((_, held)) = looked_at.as_mut() else { return LOOK };
        held.token = token;
        let last = || {
            tracing::warn!(
                address = wire.address(),
                "the token can not be renewed any more: put another in its place before it ends"
            );
        };
        let pause = prolonged(wire, Some(held), last).await;
        held.token = Arc::new(Secret::new(String::new()));
        pause
    }
}

/// Renews what is due; `last` is called when there is no more to be had. Answers when to look again.
async fn prolonged(wire: &Wire, held: Option<&mut Lease>, last: impl FnOnce()) -> Duration {
    let Some(held) = held.filter(|held| held.renewable) else { return LOOK };
    if held.is_due() {
        match renew(wire, held).await {
            Ok(Renewed::Last) => last(),
            Ok(Renewed::Full) => (),
            Err(_) => held.try_later(),
        }
    }
    held.due_in().filter(|_| held.renewable).map_or(LOOK, |pause| pause.clamp(LEAST, LOOK))
}

fn digest(token: &Secret) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
    *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// Asks for more time. An error is that nobody answered.
async fn renew(wire: &Wire, held: &mut Lease) -> Result<Renewed, Failure> {
    let ask = Ask { method: RequestMethod::POST, path: "auth/token/renew-self".to_owned(), body: Some(json!({})) };
    let answer = wire.send(wire.request(ask)?, Some(held.token.clone())).await.answer()?;
    match granted(&answer) {
        Some(by) => Ok(held.renewed(&by)),
        None if matches!(answer.status.as_u16(), 400 | 403 | 404) => Ok(held.given_up()),
        None => Err(answer.failure(&[])),
    }
}

/// What the server says of a token. Of one that may not ask, as of one that is wrong, nothing is known, and that is kept;
/// none if nobody answered.
async fn known(wire: &Wire, token: Arc<Secret>) -> Option<Lease> {
    #[derive(Deserialize)]
    struct Found {
        data: Object<Facts>,
    }
    // Vault docs, "Token auth method (API)": all in seconds; the period is that of a periodic token.
    #[derive(Deserialize)]
    struct Facts {
        ttl: u64,
        creation_ttl: u64,
        period: Option<u64>,
        renewable: bool,
    }
    let ask = Ask { method: RequestMethod::GET, path: "auth/token/lookup-self".to_owned(), body: None };
    let answer = wire.send(wire.request(ask).ok()?, Some(token.clone())).await.answer().ok()?;
    if answer.status == StatusCode::FORBIDDEN {
        return Some(Lease::new(token, Duration::ZERO, Duration::ZERO, false));
    }
    let Found { data: Object(Facts { ttl, creation_ttl, period, renewable }) } = object(&answer.body).ok()?;
    let full = Duration::from_secs(period.unwrap_or(creation_ttl).max(ttl));
    Some(Lease::new(token, full, Duration::from_secs(ttl), renewable && !full.is_zero()))
}

fn refused(answer: &Answer) -> bool {
    answer.status == StatusCode::FORBIDDEN && answer.errors().is_some()
}
