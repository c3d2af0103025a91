//! AWS Secrets Manager as a sink.
//!
//! **Version.** The id of the version that carries the label `AWSCURRENT`; `absent` if there is no secret of that name,
//! `empty` if there is one without a current version. Whoever moves `AWSCURRENT` back to an old version by hand brings
//! that id back.
//!
//! **Publishing.** A new secret is made by `CreateSecret`, which serves its first version at once and fails if the name
//! is taken. Otherwise the pair is put beside the current version, labelled `AWSPENDING`, and then `AWSCURRENT` is moved
//! to it with `RemoveFromVersionId`: "if the label is attached and … the version ID does not match, then the operation
//! fails" (API reference, `UpdateSecretVersionStage`), which makes the move a compare-and-set. The id of the version is
//! that of the attempt, so a repeated call makes nothing new, and a pair that was put and not promoted can be read back
//! after a crash. Then `AWSPENDING` is taken away, as AWS's own template for rotations does (aws-samples,
//! `SecretsManagerRotationTemplate`, `finish_secret`). If that call fails it stays where `AWSCURRENT` is, which AWS takes
//! too: only a label on another version would be "a previous rotation request … still in progress" (API reference,
//! `RotateSecret`). `AWSPREVIOUS` is AWS's to move.
//!
//! **Fencing.** The current content is put again as a version of its own, labelled `REKEYD_FENCE`, and promoted in the
//! same way; `AWSPENDING` goes with it, away from the pair that was given up. Its id is derived from the attempt and the
//! version it replaces: repeated, it is the same version.
//!
//! **Versions.** AWS keeps 100, and all of the last 24 hours, and asks for no more than one in ten minutes (API reference,
//! `PutSecretValue`). An attempt makes one, and its fence another; the policy is warned of more.
//!
//! **Permissions**: `permissions.rs`, which `rekeyd iam-policy` prints.
//!
//! The SDK's own repetition is switched off: when to repeat what is decided by the engine, from the journal.

mod access;
mod bound;
mod held;
mod making;
mod permissions;
mod trouble;

use super::content;
use crate::model::document::{Content, Names, Pair, Seen};
use crate::model::fault::Outcome;
use crate::model::key::AttemptId;
use crate::model::names::{Place, Version};
use crate::model::policy::SecretsManagerPolicy;
use crate::model::secret::Secret;
use crate::ports::{Reading, Sink, Written};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_lc_rs::digest;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use held::{CURRENT, Held, State, Stored, described, held, version};
use making::{Making, alone};
pub use permissions::least;
use trouble::Trouble;

const PENDING: &str = "AWSPENDING";
const FENCE: &str = "REKEYD_FENCE";

/// The secrets of one account in one region.
pub struct SecretsManager {
    client: Client,
    making: Making,
}

/// What shall be written: under which id and labels, and what is kept out of the texts of failures.
struct Draft<'a> {
    id: String,
    labels: &'static [&'static str],
    stored: Stored,
    names: &'a Names,
    hide: Vec<&'a Secret>,
}

impl SecretsManager {
    /// Takes the credentials from where the policy says, or else from where AWS's tools take them.
    pub async fn connect(policy: &SecretsManagerPolicy) -> Self {
        Self::with(&access::config(policy).await, policy)
    }

    /// Uses a configuration made elsewhere, without its repetitions and with connections of our own.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: client(config.into()), making: Making::default() }
    }

    /// The same, and makes secrets as the policy says.
    pub fn with(config: &SdkConfig, policy: &SecretsManagerPolicy) -> Self {
        let mut builder = Builder::from(config);
        if let Some(url) = &policy.endpoint_url {
            builder = builder.endpoint_url(url.as_str());
        }
        Self { client: client(builder), making: Making::of(policy) }
    }

    /// In what a secret is otherwise than the policy says, beside what it says; nothing if there is no such secret.
    pub async fn differences(&self, place: &Place) -> Outcome<Vec<String>> {
        let secret = described(&self.client, &place.path).await;
        let told = |found: Option<_>| found.map(|secret| self.making.differences(&secret)).unwrap_or_default();
        secret.map(told).map_or_else(Trouble::outcome, Outcome::Done)
    }

    /// What lies at a place, whatever it is, with its version.
    pub async fn text(&self, place: &Place) -> Outcome<Option<(Version, Secret)>> {
        match held(&self.client, &place.path).await {
            Ok(held) => Outcome::Done(content::text(held.text()).map(|text| (held.version(), text))),
            Err(trouble) => trouble.outcome(),
        }
    }

    async fn look(&self, name: &str, names: &Names, attempt: Option<AttemptId>) -> Result<Reading, Trouble> {
        let held = held(&self.client, name).await?;
        if let Some(secret) = self.around(name, &held).await? {
            Making::in_step(&secret)?;
        }
        let (content, secret) = content::read(held.text(), names);
        let current = held.version();
        let staged = match attempt.map(|attempt| attempt.to_string()) {
            Some(id) if id != current.0 => version(&self.client, name, &id).await?,
            _ => None,
        };
        let staged = staged.and_then(|stored| content::read(Some(&stored.text), names).1);
        Ok(Reading { seen: Seen { version: current, content, staged: staged.is_some() }, secret, staged })
    }

    /// What AWS says of the secret, if there is one; it must be ours alone.
    async fn around(&self, name: &str, held: &Held) -> Result<Option<DescribeSecretOutput>, Trouble> {
        if matches!(held.state, State::Absent) {
            return Ok(None);
        }
        let secret = described(&self.client, name).await?;
        secret.iter().try_for_each(|secret| alone(secret, name))?;
        Ok(secret)
    }

    /// Adds the replicas that are missing, before a pair is put there for which consumers wait.
    async fn prepare(&self, name: &str, held: &Held) -> Result<(), Trouble> {
        let missing = self.around(name, held).await?.map(|secret| self.making.missing(&secret)).unwrap_or_default();
        if !missing.is_empty() {
            let call = self.client.replicate_secret_to_regions().secret_id(name);
            let sent = call.set_add_replica_regions(Some(missing)).send().await;
            sent.map_err(|error| Trouble::new(&error, &[]))?;
        }
        Ok(())
    }

    /// Replaces exactly this version by the draft made of it.
    async fn replace<'a>(
        &self,
        name: &str,
        base: &Version,
        draft: impl FnOnce(&Held) -> Draft<'a> + Send,
    ) -> Outcome<Written> {
        let held = match held(&self.client, name).await {
            Ok(held) => held,
            Err(trouble) => return Outcome::NotDone(trouble.failure),
        };
        if held.version() != *base {
            return Outcome::Done(Written::Conflict);
        }
        if let Err(trouble) = self.prepare(name, &held).await {
            return Outcome::NotDone(trouble.failure);
        }
        let draft = draft(&held);
        let done = match &held.state {
            State::Absent => self.create(name, &draft).await,
            State::Empty => self.first(name, &draft).await,
            State::At(id) => self.next(name, &draft, id).await,
        };
        if matches!(done, Ok(Written::At(_))) && !matches!(held.state, State::Absent) {
            self.unstage(name, &draft.id).await;
        }
        done.map_or_else(Trouble::outcome, Outcome::Done)
    }

    /// Takes `AWSPENDING` away from a version that is current. That it can not be is no failure: see above.
    async fn unstage(&self, name: &str, id: &str) {
        let call = self.client.update_secret_version_stage().secret_id(name).version_stage(PENDING);
        if let Err(error) = call.remove_from_version_id(id).send().await {
            let failure = Trouble::new(&error, &[]).failure;
            tracing::debug!(%name, %failure, "{PENDING} stays beside {CURRENT}");
        }
    }

    /// Makes the secret, whose first version is current at once.
    async fn create(&self, name: &str, draft: &Draft<'_>) -> Result<Written, Trouble> {
        let (text, bytes) = draft.stored.parts()?;
        let call = self.making.dress(self.client.create_secret().name(name).client_request_token(&draft.id));
        let sent = call.set_secret_string(text).set_secret_binary(bytes).send().await;
        match sent.map_err(|error| Trouble::new(&error, &draft.hide)) {
            Ok(made) => draft.stored_as(made.version_id()).map(|()| draft.at()),
            // The name is taken: by an earlier call of ours whose answer was lost, or by somebody else.
            Err(trouble) if trouble.is("ResourceExistsException") => self.settle(name, draft).await,
            Err(trouble) => Err(trouble),
        }
    }

    /// Puts the first version into a secret that has none: "Secrets Manager automatically attaches the staging label
    /// `AWSCURRENT` to it" (API reference, `PutSecretValue`), which makes this a compare-and-set too.
    async fn first(&self, name: &str, draft: &Draft<'_>) -> Result<Written, Trouble> {
        self.put(name, draft).await?;
        match held(&self.client, name).await.map_err(Trouble::after_a_write)?.state {
            State::At(id) if id == draft.id => Ok(draft.at()),
            State::At(_) => Ok(Written::Conflict),
            // Without `RemoveFromVersionId` the move fails if the label is attached to any other version.
            State::Empty | State::Absent => self.promote(name, draft, None).await,
        }
    }

    /// Puts the next version beside the current one, then makes it current; unless it is that already, and says the
    /// same.
    async fn next(&self, name: &str, draft: &Draft<'_>, base: &str) -> Result<Written, Trouble> {
        self.put(name, draft).await?;
        match base == draft.id {
            true => Ok(draft.at()),
            false => self.promote(name, draft, Some(base)).await,
        }
    }

    /// Stores the draft as a version that nobody reads yet.
    async fn put(&self, name: &str, draft: &Draft<'_>) -> Result<(), Trouble> {
        let (text, bytes) = draft.stored.parts()?;
        let call = self.client.put_secret_value().secret_id(name).client_request_token(&draft.id);
        let call = draft.labels.iter().fold(call, |call, label| call.version_stages(*label));
        let call = call.set_secret_string(text).set_secret_binary(bytes);
        let error = match call.send().await {
            Ok(put) => return draft.stored_as(put.version_id()),
            Err(error) => error,
        };
        let trouble = Trouble::new(&error, &draft.hide);
        // A version of that id exists with other bytes. It is as good if it says the same: the stamp, or a member that
        // people added, was another one when it was put.
        let exists = trouble.is("ResourceExistsException");
        match if exists { version(&self.client, name, &draft.id).await? } else { None } {
            Some(there) if content::same(&there.text, &draft.stored.text, draft.names) => Ok(()),
            _ => Err(trouble.refused()),
        }
    }

    /// Moves `AWSCURRENT` to the draft, away from exactly this version.
    async fn promote(&self, name: &str, draft: &Draft<'_>, base: Option<&str>) -> Result<Written, Trouble> {
        let call = self.client.update_secret_version_stage().secret_id(name).version_stage(CURRENT);
        let sent = call.move_to_version_id(&draft.id).set_remove_from_version_id(base.map(str::to_owned)).send().await;
        match sent.map_err(|error| Trouble::new(&error, &draft.hide)) {
            Ok(moved) if moved.arn().is_some() => Ok(draft.at()),
            Ok(_) => Err(Trouble::malformed("the answer to a move names no secret")),
            Err(trouble) if trouble.is("InvalidParameterException") => {
                let state = held(&self.client, name).await.map_err(Trouble::after_a_write)?.state;
                match state {
                    State::At(id) if id == draft.id => Ok(draft.at()),
                    State::At(id) if Some(id.as_str()) == base => Err(trouble),
                    State::At(_) | State::Empty | State::Absent => Ok(Written::Conflict),
                }
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the secret that is there after all is the one that an earlier call made.
    async fn settle(&self, name: &str, draft: &Draft<'_>) -> Result<Written, Trouble> {
        match held(&self.client, name).await {
            Ok(Held { state: State::At(id), .. }) if id == draft.id => Ok(draft.at()),
            Ok(_) => Ok(Written::Conflict),
            Err(trouble) => Err(trouble.after_a_write()),
        }
    }
}

#[async_trait]
impl Sink for SecretsManager {
    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading> {
        self.look(&place.path, names, attempt).await.map_or_else(Trouble::outcome, Outcome::Done)
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        let draft = |held: &Held| Draft {
            id: pair.stamp.attempt.to_string(),
            labels: &[PENDING],
            stored: Stored { text: content::with_pair(held.text(), names, pair), binary: false },
            names,
            hide: pair.secrets(),
        };
        self.replace(&place.path, base, draft).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        let draft = |held: &Held| {
            let blank = content::read(held.text(), names).0 == Content::Blank;
            let binary = !blank && held.stored.as_ref().is_some_and(|stored| stored.binary);
            let text = content::fenced(held.text(), names, token);
            Draft {
                id: fence_id(token, base),
                labels: &[FENCE, PENDING],
                stored: Stored { text, binary },
                names,
                hide: Vec::new(),
            }
        };
        self.replace(&place.path, base, draft).await
    }

    fn stages(&self) -> bool {
        true
    }
}

fn client(builder: Builder) -> Client {
    let builder = builder.retry_config(RetryConfig::disabled()).interceptor(bound::ShortAnswers);
    Client::from_conf(builder.http_client(access::connections()).build())
}

impl Draft<'_> {
    /// Checks that the answer to a write names the version that was asked for.
    fn stored_as(&self, told: Option<&str>) -> Result<(), Trouble> {
        if told == Some(self.id.as_str()) {
            Ok(())
        } else {
            Err(Trouble::malformed("the answer to a write names no version, or another"))
        }
    }

    fn at(&self) -> Written {
        Written::At(Version(self.id.clone()))
    }
}

/// The id of a fence's version: always the same for the same attempt and base, and no attempt's own.
fn fence_id(attempt: AttemptId, base: &Version) -> String {
    let hash = digest::digest(&digest::SHA256, format!("rekeyd fence {attempt} {base}").as_bytes());
    let bytes = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid().to_string()
}
