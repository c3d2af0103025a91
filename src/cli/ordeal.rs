//! A defect on demand, for a test: a panic while a secret is in hand, with the secret in its text. In debug builds only; a
//! release build leaves this file out.

use crate::model::fault::Outcome;
use crate::model::key::{AccountSid, KeyFacts, KeySid, Label};
use crate::model::secret::Secret;
use crate::ports::{Issuer, NewKey, Standing, Verdict};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Has the first create panic if `REKEYD_ORDEAL` is `panic`.
#[expect(clippy::disallowed_methods, reason = "a test asks for it in the environment, as for nothing else")]
pub(super) fn wrap(issuer: Arc<dyn Issuer>) -> Arc<dyn Issuer> {
    if std::env::var_os("REKEYD_ORDEAL").is_some_and(|ordeal| ordeal == "panic") {
        return Arc::new(Panics(issuer));
    }
    issuer
}

struct Panics(Arc<dyn Issuer>);

#[async_trait]
impl Issuer for Panics {
    async fn create(&self, account: &AccountSid, label: &Label) -> Outcome<NewKey> {
        let made = self.0.create(account, label).await;
        made.map(|new| panic!("an ordeal with {}", new.secret.expose()))
    }

    async fn list(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        self.0.list(account).await
    }

    async fn fetch(&self, account: &AccountSid, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        self.0.fetch(account, sid).await
    }

    async fn delete(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        self.0.delete(account, sid).await
    }

    async fn probe(&self, account: &AccountSid, sid: &KeySid, secret: &Secret) -> Outcome<Verdict> {
        self.0.probe(account, sid, secret).await
    }

    async fn standing(&self, account: &AccountSid) -> Outcome<Standing> {
        self.0.standing(account).await
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        self.0.date()
    }
}
