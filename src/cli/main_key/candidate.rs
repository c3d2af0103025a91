//! The new Main key: read from a file, and proven in every account that it shall serve.

use super::super::assemble::{chain, no_client};
use super::super::{CliError, Kind, out};
use super::charge::Charge;
use crate::adapters::secrets;
use crate::adapters::twilio::{TwilioClient, TwilioError};
use crate::model::fault::{Failure, Fault};
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeyFacts, KeySid};
use crate::model::policy::{Policy, SecretSource};
use crate::model::secret::Secret;
use crate::ports::{Issuer as _, Verdict};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How many accounts are asked at the same time.
const AT_ONCE: usize = 16;
const FORM: &str = "accepted is {\"accountSid\":\"AC...\",\"adminKeySid\":\"SK...\",\"adminKeySecret\":\"...\"}, or the \
                    secret alone if its key is named by --sid";

/// What may take the place of the Main key: the content of a file in the form of AWS's own admin secrets.
pub(super) struct Candidate {
    pub(super) file: PathBuf,
    pub(super) text: Secret,
}

/// A candidate that has shown what it can do.
pub(super) struct Proven {
    pub(super) sid: KeySid,
    pub(super) client: TwilioClient,
    /// What Twilio shows of it, if it does.
    pub(super) facts: Option<KeyFacts>,
    /// The key that the policy names now, if that can be told.
    pub(super) old: Option<KeySid>,
}

impl Proven {
    /// Whether the policy names it already.
    pub(super) fn is_old(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.may_be(&self.sid))
    }
}

impl Candidate {
    /// Reads the file; with a SID beside it, it holds the secret alone.
    pub(super) fn read(file: &Path, sid: Option<&KeySid>, account: &AccountSid) -> Result<Self, CliError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Written<'a> {
            account_sid: &'a str,
            admin_key_sid: &'a str,
            admin_key_secret: &'a str,
        }
        let path = file.to_owned();
        let source = if sid.is_some() { SecretSource::File(path) } else { SecretSource::Admin(path) };
        let text = secrets::read(&source).map_err(|error| CliError::new(Kind::Failed, chain(&error)))?;
        let text = match sid {
            None => text,
            Some(sid) => {
                let (account_sid, admin_key_sid) = (account.as_str(), sid.as_str());
                let written = Written { account_sid, admin_key_sid, admin_key_secret: text.expose() };
                Secret::new(serde_json::to_string(&written).map_err(CliError::failed)?)
            }
        };
        Ok(Self { file: file.to_owned(), text })
    }

    /// Lists the keys of every account with it; it asks nothing else of Twilio and changes nothing.
    pub(super) async fn prove(&self, policy: &Policy, charge: &Charge<'_>) -> Result<Proven, CliError> {
        let client = charge.with(&self.file, &self.text).map_err(|error| match &error {
            TwilioError::Admin(..) => no_client(&error).hint(FORM),
            TwilioError::Secret(..) | TwilioError::Signer(..) | TwilioError::Http(_) => no_client(&error),
        })?;
        let Some(sid) = client.main_keys().into_keys().next() else {
            let message = format!("{} holds an auth token, and this is about Main keys", self.file.display());
            return Err(CliError::new(Kind::Failed, message).hint(FORM));
        };
        if policy.credentials.values().any(|rules| rules.adopt.as_ref().is_some_and(|adopt| adopt.may_be(&sid))) {
            let message = format!("{sid} is adopted by a credential, whose rotation would delete it");
            return Err(CliError::new(Kind::Failed, message));
        }
        let own = &charge.home();
        if let Err(failure) = client.list(own).await.answer() {
            return Err(refused(&client, &sid, own, &failure).await);
        }
        prove_everywhere(&client, &sid, charge).await?;
        let facts = client.fetch(own, &sid).await.answer().ok().flatten();
        let old = charge.present().await.ok().and_then(|present| present.main_keys().into_keys().next());
        Ok(Proven { sid, client, facts, old })
    }
}

/// Lists the keys of all accounts that it shall serve.
async fn prove_everywhere(client: &TwilioClient, sid: &KeySid, charge: &Charge<'_>) -> Result<(), CliError> {
    let listed = charge.listed(client).await?;
    let mut homes = charge.serves(listed.as_deref());
    homes.insert(charge.home());
    let list = |home: Home| async move { (client.list(&home).await.answer(), home) };
    let answers: Vec<_> = stream::iter(&homes).map(|home| list(home.clone())).buffered(AT_ONCE).collect().await;
    let mut worst = None;
    for (answer, home) in answers {
        match answer {
            Ok(keys) => out::line(&format!("{sid} lists the keys of {home}: {}", keys.len())),
            Err(failure) => {
                out::error(&format!("error: {sid} does not list the keys of {home}: {failure}"));
                worst = Some(kind(&failure)).max(worst);
            }
        }
    }
    let told = |kind| CliError::new(kind, format!("{sid} can not take the place of the Main key; nothing was changed"));
    let hint = "an account that a parent's key may not reach into needs one of its own, in [accounts.\"AC...\"]";
    worst.map_or(Ok(()), |kind| Err(told(kind).hint(hint)))
}

/// Twilio says the same to a Standard key and to a wrong secret; what else the key may do tells them apart.
async fn refused(client: &TwilioClient, sid: &KeySid, home: &Home, failure: &Failure) -> CliError {
    let error = |why: &str| CliError::new(kind(failure), format!("{sid} {why} ({failure}); nothing was changed"));
    if !matches!(failure.fault, Fault::Unauthorized | Fault::Forbidden) {
        return error(&format!("could not be tried in {home}"));
    }
    match client.works(home).await.answer() {
        Ok(Verdict::Works) => error(&format!("works in {home}, and may not manage keys there")).hint(
            "it is a Standard key, or a Restricted one without the permissions; make a Main key in Twilio's Console",
        ),
        Ok(Verdict::Refused) => error(&format!("is not accepted in {home}"))
            .hint("its secret is wrong, it was deleted, or it is a key of another account or region"),
        Err(_) => error(&format!("may not list the keys of {home}")),
    }
}

/// What a refusal means for who has asked: another key is needed, or only another time.
pub(super) fn kind(failure: &Failure) -> Kind {
    match failure.fault {
        Fault::Unauthorized | Fault::Forbidden | Fault::Refused | Fault::Missing => Kind::Failed,
        Fault::Unreachable
        | Fault::Timeout
        | Fault::Throttled
        | Fault::Server
        | Fault::Malformed
        | Fault::Conflict
        | Fault::PairRefused
        | Fault::Quota
        | Fault::Local => Kind::Unreachable,
    }
}
