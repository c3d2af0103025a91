//! The only place where the adapters and the engine's ports meet: makes the doors that a policy describes.

use super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::directory::Directory;
use crate::adapters::http::{Connections, Deadlines};
use crate::adapters::journal::{Access, AnyJournal};
use crate::adapters::twilio::{TwilioClient, TwilioError};
use crate::adapters::{aws, http, secrets, vault};
use crate::model::names::SinkName;
use crate::model::policy::{Policy, SinkPolicy, StateUrl};
use crate::ports::{Clock, Issuer, JournalError, Landlord, Sink};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The doors to Twilio and the sinks.
pub(super) struct Doors {
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) sinks: BTreeMap<SinkName, Arc<dyn Sink>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What the doors are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To work: what a crash left behind is removed.
    Work,
    /// To look: nothing is touched.
    Look,
}

pub(super) async fn doors(policy: &Policy, purpose: Purpose) -> Result<Doors, CliError> {
    http::install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let issuer = TwilioClient::new(&policy.twilio, &secrets::read, clock.clone());
    let issuer = issuer.map_err(|error| {
        let failed = CliError::new(Kind::Failed, chain(&error));
        let hint = "it is named by main_key_secret_file or auth_token_file in [twilio] or [accounts]";
        if matches!(error, TwilioError::Secret(..)) { failed.hint(hint) } else { failed }
    })?;
    let mut sinks = BTreeMap::new();
    for (name, sink) in &policy.sinks {
        let error = |error: &dyn std::fmt::Display| CliError::new(Kind::Failed, format!("sink `{name}`: {error}"));
        let door = door(sink, purpose).await.map_err(|e| error(&e))?;
        #[cfg(debug_assertions)]
        let door = super::ordeal::sink(door);
        sinks.insert(name.clone(), door);
    }
    let issuer: Arc<dyn Issuer> = Arc::new(issuer);
    #[cfg(debug_assertions)]
    let issuer = super::ordeal::wrap(issuer);
    Ok(Doors { issuer, sinks, clock })
}

/// The door to Twilio for who makes and ends subaccounts.
pub(super) fn landlord(policy: &Policy, clock: Arc<dyn Clock>) -> Result<Arc<dyn Landlord>, CliError> {
    http::install_crypto();
    let client = TwilioClient::new(&policy.twilio, &secrets::read, clock);
    Ok(Arc::new(client.map_err(|error| CliError::failed(chain(&error)))?))
}

async fn door(sink: &SinkPolicy, purpose: Purpose) -> Result<Arc<dyn Sink>, Box<dyn std::error::Error>> {
    Ok(match sink {
        SinkPolicy::Vault { address, mount, namespace, ca_file, auth } => {
            let base = http::Base::new(address)?;
            let client = http::client(&base, ca_file.as_deref(), Deadlines::default(), Connections::Fresh)?;
            Arc::new(vault::Vault::new(client, address, mount, namespace.as_deref(), auth.clone())?)
        }
        SinkPolicy::SecretsManager { region, endpoint_url } => {
            Arc::new(aws::SecretsManager::connect(region, endpoint_url.as_ref()).await)
        }
        SinkPolicy::Directory { path } => {
            let directory = Directory::new(path.clone());
            if purpose == Purpose::Work {
                directory.tidy();
            }
            Arc::new(directory)
        }
    })
}

/// An error with its causes, where none of them can hold a secret.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Opens the journal that the policy names.
pub(super) async fn journal(policy: &Policy, access: Access, clock: Arc<dyn Clock>) -> Result<AnyJournal, CliError> {
    let opened = AnyJournal::open(&policy.state, &policy.instance, access, clock, None).await;
    opened.map_err(|error| journal_error(&policy.state, access, &error))
}

/// Where a journal lies, for people.
pub(super) fn place(state: &StateUrl) -> String {
    match state {
        StateUrl::Sqlite(path) => path.display().to_string(),
        StateUrl::Postgres(server) => server.url.to_string(),
    }
}

pub(super) fn journal_error(state: &StateUrl, access: Access, error: &JournalError) -> CliError {
    let place = place(state);
    let failed = CliError::new(Kind::Journal, format!("{place}: {error}"));
    match (access, error) {
        (Access::Visitor, _) if matches!(state, StateUrl::Sqlite(path) if !path.exists()) => {
            CliError::new(Kind::Journal, format!("there is no journal at {place}"))
                .hint("`rekeyd run` makes it when it starts for the first time")
        }
        (_, JournalError::Corrupt(_)) => failed.hint(
            "nothing was changed; put a sound copy of the journal back, or move it away to start over: what the sinks \
             hold will then have to be confirmed with `rekeyd resume NAME --overwrite`",
        ),
        (_, JournalError::Unavailable(_)) => failed,
    }
}
