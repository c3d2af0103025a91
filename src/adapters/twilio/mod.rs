//! Twilio's REST API 2010-04-01 behind the `Issuer` port.
//!
//! Every operation goes the same way: `call` sends one request, `answer` says what the answer means by one set of
//! rules, and `keys`, `accounts` and `probe` add what is special about their resource. Facts cited as "Twilio docs"
//! were read in Twilio's documentation and OpenAPI document in 2026; the rest is marked as observed or assumed.

mod accounts;
mod answer;
mod call;
mod keys;
mod pair;
mod probe;

use super::http::{self, Base, Connections, Deadlines, HttpError};
use crate::model::fault::Outcome;
use crate::model::key::{AccountSid, KeyFacts, KeySid, Label};
use crate::model::policy::TwilioPolicy;
use crate::model::secret::Secret;
use crate::ports::{Clock, Issuer, NewKey, Standing, Verdict};
use async_trait::async_trait;
use jiff::Timestamp;
use pair::Pair;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Twilio, managed with one Main key.
pub struct TwilioClient {
    base: Base,
    /// For calls that the Main key signs: connections are used again.
    kept: reqwest::Client,
    /// For creates: each unknown outcome costs a key, so none is risked on a connection that may be closing. For them and
    /// for probes: their connections do not outlive the secret that travels on them.
    fresh: reqwest::Client,
    main_key: KeySid,
    main_secret: Secret,
    clock: Arc<dyn Clock>,
    date: Mutex<Option<(Timestamp, Duration)>>,
}

impl TwilioClient {
    /// Makes the client; nothing is sent yet.
    pub fn new(policy: &TwilioPolicy, main_secret: Secret, clock: Arc<dyn Clock>) -> Result<Self, HttpError> {
        Self::with_deadlines(policy, main_secret, clock, Deadlines::default())
    }

    /// The same with other deadlines, for tests that wait for one to pass.
    pub fn with_deadlines(
        policy: &TwilioPolicy,
        main_secret: Secret,
        clock: Arc<dyn Clock>,
        deadlines: Deadlines,
    ) -> Result<Self, HttpError> {
        let base = Base::new(&policy.base_url)?;
        let client = |connections| http::client(&base, None, deadlines, connections);
        let (kept, fresh) = (client(Connections::Kept)?, client(Connections::Fresh)?);
        let main_key = policy.main_key.clone();
        Ok(Self { base, kept, fresh, main_key, main_secret, clock, date: Mutex::default() })
    }

    /// The pair that manages the other keys.
    fn main(&self) -> Pair<'_> {
        Pair { sid: &self.main_key, secret: &self.main_secret }
    }
}

#[async_trait]
impl Issuer for TwilioClient {
    async fn create(&self, account: &AccountSid, label: &Label) -> Outcome<NewKey> {
        http::outcome(self.create_key(account, &label.to_string()).await)
    }

    async fn list(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        http::outcome(self.list_keys(account).await)
    }

    async fn fetch(&self, account: &AccountSid, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        http::outcome(self.fetch_key(account, sid).await)
    }

    async fn delete(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        http::outcome(self.delete_key(account, sid).await)
    }

    async fn probe(&self, account: &AccountSid, sid: &KeySid, secret: &Secret) -> Outcome<Verdict> {
        http::outcome(self.probe_pair(account, Pair { sid, secret }).await)
    }

    async fn standing(&self, account: &AccountSid) -> Outcome<Standing> {
        http::outcome(self.fetch_standing(account).await)
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
