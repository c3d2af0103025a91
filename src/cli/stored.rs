//! Main keys that lie in the store of a sink (`main_key_at`): read there at the start, and looked at again now and then.

use super::assemble::{chain, vault};
use super::{CliError, Kind};
use crate::adapters::aws::SecretsManager;
use crate::adapters::secrets::{self, SecretError};
use crate::adapters::vault::Vault;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::{Place, Version};
use crate::model::policy::{Admin, Policy, SecretSource, SinkPolicy};
use crate::model::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};

/// A door to a store, for reading only.
enum Door {
    Vault(Box<Vault>),
    SecretsManager(SecretsManager),
}

/// The places of Main keys, each with a door to its store.
#[derive(Default)]
pub(super) struct Stores(BTreeMap<Place, Door>);

/// What lay there.
pub(super) struct Texts(BTreeMap<Place, Secret>);

impl Stores {
    /// Those of a policy; nothing is called yet.
    pub(super) async fn of_policy(policy: &Policy) -> Result<Self, CliError> {
        Self::of(policy, policy.twilio.accesses().map(|access| &access.admin)).await
    }

    /// Those that these name.
    pub(super) async fn of(policy: &Policy, admins: impl Iterator<Item = &Admin>) -> Result<Self, CliError> {
        let mut doors = BTreeMap::new();
        for admin in admins {
            if let SecretSource::Stored(place) = &admin.secret
                && !doors.contains_key(place)
            {
                doors.insert(place.clone(), door(policy, place).await?);
            }
        }
        Ok(Self(doors))
    }

    /// Reads every place.
    pub(super) async fn read(&self) -> Result<Texts, CliError> {
        let mut texts = BTreeMap::new();
        for (place, door) in &self.0 {
            match door.text(place).await.answer() {
                Ok(Some((_, text))) => drop(texts.insert(place.clone(), text)),
                Ok(None) => {
                    return Err(CliError::new(
                        Kind::Failed,
                        format!("nothing lies at {place}, where a Main key should be"),
                    ));
                }
                Err(failure) => return Err(unread(place, &failure)),
            }
        }
        Ok(Texts(texts))
    }

    /// What lies there in which version now, as far as that can be told. `silent` are the stores that have not answered
    /// lately: that is told once.
    pub(super) async fn versions(&self, silent: &mut BTreeSet<Place>) -> BTreeMap<Place, Version> {
        let mut versions = BTreeMap::new();
        for (place, door) in &self.0 {
            match door.text(place).await.answer() {
                Ok(found) => {
                    silent.remove(place);
                    versions.extend(found.map(|(version, _)| (place.clone(), version)));
                }
                Err(failure) if silent.insert(place.clone()) => {
                    tracing::warn!(%place, %failure, "whether the Main key there was replaced can not be told");
                }
                Err(_) => (),
            }
        }
        versions
    }
}

impl Texts {
    /// Reads what a policy names: what lay in a store was read already.
    pub(super) fn secret(&self, source: &SecretSource) -> Result<Secret, SecretError> {
        match source {
            SecretSource::Stored(place) => match self.0.get(place) {
                Some(text) => Ok(text.duplicate()),
                None => secrets::read(source),
            },
            SecretSource::File(_) | SecretSource::Env(_) | SecretSource::Admin(_) => secrets::read(source),
        }
    }
}

impl Door {
    async fn text(&self, place: &Place) -> Outcome<Option<(Version, Secret)>> {
        match self {
            Door::Vault(vault) => vault.text(place).await,
            Door::SecretsManager(manager) => manager.text(place).await,
        }
    }
}

async fn door(policy: &Policy, place: &Place) -> Result<Door, CliError> {
    let failed = |why: String| CliError::new(Kind::Failed, format!("sink `{}`: {why}", place.sink));
    match policy.sinks.get(&place.sink) {
        Some(SinkPolicy::Vault(engine)) => {
            vault(engine).map(Box::new).map(Door::Vault).map_err(|error| failed(chain(&*error)))
        }
        Some(SinkPolicy::SecretsManager(manager)) => Ok(Door::SecretsManager(SecretsManager::connect(manager).await)),
        // The policy has been checked: none of these can be.
        Some(SinkPolicy::Kubernetes(_) | SinkPolicy::Directory { .. }) | None => {
            Err(failed("no Main key can be read there".to_owned()))
        }
    }
}

/// A store that does not answer is waited for, as every peer is; one that refuses needs a person.
fn unread(place: &Place, failure: &Failure) -> CliError {
    let passing = matches!(failure.fault, Fault::Unreachable | Fault::Timeout | Fault::Throttled | Fault::Server);
    let kind = if passing { Kind::Unreachable } else { Kind::Failed };
    CliError::new(kind, format!("the Main key at {place} can not be read: {failure}"))
        .hint("it is named by main_key_at in [twilio] or [accounts]")
}
