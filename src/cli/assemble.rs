//! The only place where the adapters and the engine's ports meet: makes the doors that a policy describes.

use super::stored::Stores;
use super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::directory::Directory;
use crate::adapters::http::{Connections, Deadlines};
use crate::adapters::journal::{Access, AnyJournal};
use crate::adapters::kubernetes::{Cluster, in_cluster};
use crate::adapters::twilio::{TwilioClient, TwilioError};
use crate::adapters::vault::Vault;
use crate::adapters::{aws, http};
use crate::model::names::SinkName;
use crate::model::policy::{KubernetesPolicy, Policy, SecretSource, SinkPolicy, StateUrl, VaultPolicy};
use crate::ports::{Clock, Issuer, JournalError, Landlord, Sink, Workloads};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The doors to Twilio and the sinks.
pub(super) struct Doors {
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) sinks: BTreeMap<SinkName, Arc<dyn Sink>>,
    pub(super) clusters: BTreeMap<SinkName, Arc<dyn Workloads>>,
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
    let issuer = twilio(policy, clock.clone()).await?;
    let (mut sinks, mut clusters) = (BTreeMap::new(), BTreeMap::new());
    for (name, sink) in &policy.sinks {
        let error = |error: &dyn std::fmt::Display| CliError::new(Kind::Failed, format!("sink `{name}`: {error}"));
        if let SinkPolicy::Kubernetes(namespace) = sink {
            let cluster: Arc<dyn Workloads> = Arc::new(kubernetes(namespace).map_err(|e| error(&e))?);
            clusters.insert(name.clone(), cluster);
        }
        let door = door(sink, purpose, &clock).await.map_err(|e| error(&e))?;
        #[cfg(debug_assertions)]
        let door = super::ordeal::sink(door);
        sinks.insert(name.clone(), door);
    }
    let issuer: Arc<dyn Issuer> = Arc::new(issuer);
    #[cfg(debug_assertions)]
    let issuer = super::ordeal::wrap(issuer);
    Ok(Doors { issuer, sinks, clusters, clock })
}

/// Twilio, managed with what the policy names.
pub(super) async fn twilio(policy: &Policy, clock: Arc<dyn Clock>) -> Result<TwilioClient, CliError> {
    http::install_crypto();
    let stored = Stores::of_policy(policy).await?.read().await?;
    let read = |source: &SecretSource| stored.secret(source);
    TwilioClient::new(&policy.twilio, &read, clock).map_err(|error| no_client(&error))
}

/// The door to Twilio for who makes and ends subaccounts.
pub(super) async fn landlord(policy: &Policy, clock: Arc<dyn Clock>) -> Result<Arc<dyn Landlord>, CliError> {
    let landlord: Arc<dyn Landlord> = Arc::new(twilio(policy, clock).await?);
    #[cfg(debug_assertions)]
    let landlord = super::ordeal::landlord(landlord);
    Ok(landlord)
}

/// Why what manages the keys can not be used, in words.
pub(super) fn no_client(error: &TwilioError) -> CliError {
    let failed = CliError::new(Kind::Failed, chain(error));
    let hint = "it is named by main_key_secret_file or auth_token_file in [twilio] or [accounts]";
    if matches!(error, TwilioError::Secret(..)) { failed.hint(hint) } else { failed }
}

async fn door(
    sink: &SinkPolicy,
    purpose: Purpose,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Sink>, Box<dyn std::error::Error>> {
    Ok(match sink {
        SinkPolicy::Vault(engine) => {
            let vault = Arc::new(vault(engine)?);
            if purpose == Purpose::Work {
                Vault::stay_signed_in(&vault, clock.clone());
            }
            vault
        }
        SinkPolicy::SecretsManager(manager) => Arc::new(aws::SecretsManager::connect(manager).await),
        SinkPolicy::Kubernetes(namespace) => Arc::new(kubernetes(namespace)?),
        SinkPolicy::Directory { path } => {
            let directory = Directory::new(path.clone());
            if purpose == Purpose::Work {
                directory.tidy();
            }
            Arc::new(directory)
        }
    })
}

/// One KV engine, over connections that do not outlive a secret.
pub(super) fn vault(engine: &VaultPolicy) -> Result<Vault, Box<dyn std::error::Error>> {
    let base = http::Base::new(&engine.address)?;
    let (trusted, shown) = (engine.ca_file.as_deref(), engine.client.as_deref());
    let client = http::client_showing(&base, trusted, shown, Deadlines::default(), Connections::Fresh)?;
    Ok(Vault::new(client, engine)?)
}

/// One namespace, over connections that do not outlive a secret.
pub(super) fn kubernetes(policy: &KubernetesPolicy) -> Result<Cluster, Box<dyn std::error::Error>> {
    let server = policy.server.clone().map_or_else(in_cluster, Ok)?;
    let base = http::Base::new(&server.address)?;
    let client = http::client(&base, server.ca_file.as_deref(), Deadlines::default(), Connections::Fresh)?;
    Ok(Cluster::new(client, base, server.token, &policy.namespace))
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
