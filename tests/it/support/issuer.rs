//! An issuer of JSON Web Tokens; and the part of a Kubernetes API server that says whose service account's a token is.

use super::authority::{Authority, Front};
use super::wire::{self, Wire};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Signs with ES256.
pub(crate) struct Issuer(KeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate().unwrap())
    }

    /// What its tokens are checked with.
    pub(crate) fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// A token with these claims beside its times; it ends so many seconds from now.
    pub(crate) fn token(&self, mut claims: Value, lasts: i64) -> String {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        claims["iat"] = json!(now - 60);
        claims["nbf"] = json!(now - 60);
        claims["exp"] = json!(now + lasts);
        // No two are alike.
        claims["jti"] = json!(uuid::Uuid::new_v4().to_string());
        let key = EncodingKey::from_ec_pem(self.0.serialize_pem().as_bytes()).unwrap();
        encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
    }

    /// The token of a service account in the namespace `ops`, as pods find it.
    pub(crate) fn service_account(&self, name: &str) -> String {
        let of = json!({"namespace": "ops", "serviceaccount": {"name": name, "uid": "u-1"}});
        let claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local", "aud": ["vault"],
            "sub": format!("system:serviceaccount:ops:{name}"), "kubernetes.io": of,
        });
        self.token(claims, 600)
    }
}

/// A cluster that answers `TokenReview` (Kubernetes docs, "TokenReview authentication.k8s.io/v1") over TLS.
pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) authority: Authority,
    valid: Arc<Mutex<BTreeSet<(String, String)>>>,
    _api: Wire,
    _front: Front,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let valid: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
        let known = valid.clone();
        let api = Wire::start(move |request| {
            let body = request.text.split_once("\r\n\r\n").unwrap().1;
            let asked: Value = serde_json::from_str(body).unwrap();
            let token = asked["spec"]["token"].as_str().unwrap();
            let of = known.lock().unwrap().iter().find(|(valid, _)| valid == token).map(|(_, name)| name.clone());
            let status = match of {
                Some(name) => json!({"authenticated": true, "audiences": ["vault"], "user": {
                    "username": format!("system:serviceaccount:ops:{name}"), "uid": "u-1",
                    "groups": ["system:serviceaccounts"],
                }}),
                None => json!({"authenticated": false, "error": "it was replaced"}),
            };
            let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
            wire::json(201, &review.to_string())
        })
        .await;
        let authority = Authority::new("cluster");
        let front = Front::start(&authority, api.url().port().unwrap()).await;
        Self { url: front.url.clone(), authority, valid, _api: api, _front: front }
    }

    /// From now on it knows this token of that account, and no other.
    pub(crate) fn knows_only(&self, token: &str, name: &str) {
        *self.valid.lock().unwrap() = BTreeSet::from([(token.to_owned(), name.to_owned())]);
    }

    /// What the auth method `kubernetes` is configured with.
    pub(crate) fn config(&self) -> Value {
        json!({
            "kubernetes_host": self.url, "kubernetes_ca_cert": self.authority.pem(), "disable_local_ca_jwt": true,
        })
    }
}
