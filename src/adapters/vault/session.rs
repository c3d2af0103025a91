//! Being signed in to Vault: a token that something else keeps fresh, or one that an AppRole login brings.
//!
//! Nothing is sent before there is a token, so a failed login has changed nothing. The token of a role is used for
//! three quarters of its lease and then replaced by another login, never renewed: a renewed token still ends at its
//! `max_ttl`, a login always works. The secret id must therefore allow any number of uses (`secret_id_num_uses = 0`).

use super::super::json::{Object, object};
use super::super::secrets;
use super::wire::{Answer, Wire};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::policy::{SecretSource, VaultAuth};
use crate::model::secret::Secret;
use rustify::Endpoint;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use vaultrs::api::AuthInfo;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;

/// How tokens are come by.
pub(super) struct Session {
    auth: VaultAuth,
    lease: Mutex<Option<Lease>>,
}

/// A token that a login brought.
#[derive(Clone)]
struct Lease {
    token: Arc<Secret>,
    /// When it is replaced; never if it has no end.
    until: Option<Instant>,
}

/// A token to send a request with.
struct Pass {
    token: Arc<Secret>,
    /// Whether it is from an earlier call, and may have been revoked since.
    kept: bool,
}

impl Session {
    pub(super) fn new(auth: VaultAuth) -> Self {
        Self { auth, lease: Mutex::new(None) }
    }

    /// Signs in if need be and sends the request. A kept token that Vault no longer accepts is replaced once: 403 says
    /// that nothing was done.
    pub(super) async fn call(&self, wire: &Wire, endpoint: impl Endpoint) -> Outcome<Answer> {
        let ready = async {
            let request = wire.request(endpoint)?;
            Ok((request.try_clone(), self.pass(wire).await?, request))
        };
        let (again, pass, request) = match ready.await {
            Ok(ready) => ready,
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
        let (mount, role_id, secret_id) = match &self.auth {
            // Read again each time: whatever keeps it fresh replaces the file.
            VaultAuth::Token { token } => return Ok(Pass { token: Arc::new(secret(token).await?), kept: false }),
            VaultAuth::AppRole { mount, role_id, secret_id } => (mount, role_id, secret_id),
        };
        let mut lease = self.lease.lock().await;
        if let Some(kept) = lease.as_ref().filter(|lease| lease.until.is_none_or(|until| now() < until)) {
            return Ok(Pass { token: kept.token.clone(), kept: true });
        }
        let new = login(wire, mount, role_id, secret_id).await?;
        let pass = Pass { token: new.token.clone(), kept: false };
        *lease = Some(new);
        Ok(pass)
    }

    /// Drops a token that was refused, unless another call has replaced it already.
    async fn forget(&self, pass: &Pass) {
        let mut lease = self.lease.lock().await;
        if lease.as_ref().is_some_and(|lease| Arc::ptr_eq(&lease.token, &pass.token)) {
            *lease = None;
        }
    }
}

fn refused(answer: &Answer) -> bool {
    answer.status == reqwest::StatusCode::FORBIDDEN && answer.errors().is_some()
}

/// Signs in with the role.
async fn login(wire: &Wire, mount: &str, role_id: &str, secret_id: &SecretSource) -> Result<Lease, Failure> {
    #[derive(Deserialize)]
    struct SignedIn {
        auth: Object<AuthInfo>,
    }
    let secret_id = secret(secret_id).await?;
    let request = wire.request(LoginWithApproleRequest {
        mount: mount.to_owned(),
        role_id: role_id.to_owned(),
        secret_id: secret_id.expose().to_owned(),
    })?;
    let answer = wire.send(request, None).await.answer()?;
    if !answer.status.is_success() {
        let failure = answer.failure(&[&secret_id]);
        let not_accepted = matches!(answer.status.as_u16(), 400 | 401 | 403);
        let fault = if not_accepted { Fault::Unauthorized } else { failure.fault };
        return Err(Failure::new(fault, &format!("AppRole login: {}", failure.detail)));
    }
    let unreadable = || Failure::new(Fault::Malformed, "AppRole login: the answer holds no token");
    let SignedIn { auth: Object(auth) } = object(&answer.body).map_err(|_| unreadable())?;
    if auth.client_token.is_empty() {
        return Err(unreadable());
    }
    let lasts = Duration::from_secs(auth.lease_duration);
    // A lease that no clock can hold the end of has none.
    let until = (!lasts.is_zero()).then(|| now().checked_add(lasts / 4 * 3)).flatten();
    Ok(Lease { token: Arc::new(Secret::new(auth.client_token)), until })
}

async fn secret(source: &SecretSource) -> Result<Secret, Failure> {
    let source = source.clone();
    let local = |text: &str| Failure::new(Fault::Local, text);
    let read = tokio::task::spawn_blocking(move || secrets::read(&source)).await;
    read.map_err(|_| local("reading the secret was cut off"))?.map_err(|error| local(&error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "the age of a lease, which only this file knows")]
fn now() -> Instant {
    Instant::now()
}
