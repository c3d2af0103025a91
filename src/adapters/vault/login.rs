//! Signing in to Vault: one request for each method, and the token with its lease that comes back.

use super::super::json::{Object, object};
use super::super::secrets;
use super::lease::Lease;
use super::wire::{Answer, Ask, Wire};
use crate::model::fault::{Failure, Fault};
use crate::model::policy::{SecretSource, VaultAuth};
use crate::model::secret::Secret;
use rustify::enums::RequestMethod;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use vaultrs::api::AuthInfo;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;

/// A login, or the token of the policy as it is now. Secrets are read again each time: others replace them.
pub(super) async fn login(wire: &Wire, auth: &VaultAuth) -> Result<Lease, Failure> {
    let (method, request, shown) = match auth {
        VaultAuth::Token { token } => return Ok(Lease::endless(secret(token).await?)),
        VaultAuth::AppRole { mount, role_id, secret_id } => {
            let secret_id = secret(secret_id).await?;
            let request = wire.request(LoginWithApproleRequest {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id: secret_id.expose().to_owned(),
            })?;
            ("AppRole", request, Some(secret_id))
        }
        // The methods `kubernetes` and `jwt` take the same request (Vault docs, "Kubernetes auth method (API)" and
        // "JWT/OIDC auth method (API)").
        VaultAuth::Jwt { mount, role, jwt } => {
            let jwt = secret(jwt).await?;
            let request = wire.request(LoginWithKubernetesRequest {
                mount: mount.clone(),
                role: role.clone(),
                jwt: jwt.expose().to_owned(),
            })?;
            ("JWT", request, Some(jwt))
        }
        // `vaultrs` calls the role `cert_name`; the API calls it `name` (Vault docs, "TLS certificate auth method (API)").
        VaultAuth::Certificate { mount, role } => {
            let body = role.as_ref().map_or_else(|| json!({}), |role| json!({ "name": role }));
            let path = format!("auth/{mount}/login");
            ("certificate", wire.request(Ask { method: RequestMethod::POST, path, body: Some(body) })?, None)
        }
    };
    let told = |failure: Failure| Failure::new(failure.fault, &format!("{method} login: {}", failure.detail));
    let answer = wire.send(request, None).await.answer()?;
    if !answer.status.is_success() {
        let failure = answer.failure(&shown.iter().collect::<Vec<_>>());
        let not_accepted = matches!(answer.status.as_u16(), 400 | 401 | 403);
        let fault = if not_accepted { Fault::Unauthorized } else { failure.fault };
        return Err(told(Failure { fault, ..failure }));
    }
    granted(&answer).ok_or_else(|| told(Failure::new(Fault::Malformed, "the answer holds no token")))
}

/// The token that an answer brings, with its lease.
pub(super) fn granted(answer: &Answer) -> Option<Lease> {
    #[derive(Deserialize)]
    struct SignedIn {
        auth: Object<AuthInfo>,
    }
    let SignedIn { auth: Object(auth) } = object(&answer.body).ok().filter(|_| answer.status.is_success())?;
    if auth.client_token.is_empty() {
        return None;
    }
    let lasts = Duration::from_secs(auth.lease_duration);
    Some(Lease::new(Arc::new(Secret::new(auth.client_token)), lasts, lasts, auth.renewable))
}

/// Reads a secret without holding up the others while a file system takes its time.
pub(super) async fn secret(source: &SecretSource) -> Result<Secret, Failure> {
    let source = source.clone();
    let local = |text: &str| Failure::new(Fault::Local, text);
    let read = tokio::task::spawn_blocking(move || secrets::read(&source)).await;
    read.map_err(|_| local("reading the secret was cut off"))?.map_err(|error| local(&error.to_string()))
}
