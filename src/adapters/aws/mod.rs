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
//! after a crash. `AWSPENDING` stays where `AWSCURRENT` is, as AWS's own rotation leaves it; `AWSPREVIOUS` is AWS's to
//! move.
//!
//! **Fencing.** The current content is put again as a version of its own, labelled `REKEYD_FENCE`, and promoted in the
//! same way. Its id is derived from the attempt and the version it replaces: repeated, it is the same version.
//!
//! **Permissions** on the secret: `GetSecretValue`, `DescribeSecret`, `CreateSecret`, `PutSecretValue`,
//! `UpdateSecretVersionStage`; with a KMS key of one's own also `kms:Decrypt` and `kms:GenerateDataKey`.
//!
//! Calls go through no proxy that the environment names (decision 8).
//!
//! The SDK's own repetition is switched off: when to repeat what is decided by the engine, from the journal.

mod bound;
mod held;
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
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_lc_rs::digest;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::SharedHttpClient;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use held::{CURRENT, Held, State, Stored, held, version};
use std::time::Duration;
use trouble::Trouble;

const PENDING: &str = "AWSPENDING";
const FENCE: &str = "REKEYD_FENCE";

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a call may take in all.
const TOTAL: Duration = Duration::from_secs(30);

/// The secrets of one account in one region.
pub struct SecretsManager {
    client: Client,
}

/// What shall be written: under which id and label, and what is kept out of the texts of failures.
struct Draft<'a> {
    id: String,
    label: &'static str,
    stored: Stored,
    names: &'a Names,
    hide: Vec<&'a Secret>,
}

impl SecretsManager {
    /// Takes the credentials from where AWS's tools take them: environment, profile, web identity, container, instance.
    pub async fn connect(SecretsManagerPolicy { region, endpoint_url }: &SecretsManagerPolicy) -> Self {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(TOTAL).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(connections())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts);
        if let Some(url) = endpoint_url {
            loader = loader.endpoint_url(url.as_str());
        }
        Self::new(&loader.load().await)
    }

    /// Uses a configuration made elsewhere, without its repetitions and with connections of our own.
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_secretsmanager::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .interceptor(bound::ShortAnswers)
            .http_client(connections());
        Self { client: Client::from_conf(config.build()) }
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
        let (content, secret) = content::read(held.text(), names);
        let current = held.version();
        let staged = match attempt.map(|attempt| attempt.to_string()) {
            Some(id) if id != current.0 => version(&self.client, name, &id).await?,
            _ => None,
        };
        let staged = staged.and_then(|stored| content::read(Some(&stored.text), names).1);
        Ok(Reading { seen: Seen { version: current, content, staged: staged.is_some() }, secret, staged })
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
        let draft = draft(&held);
        let done = match &held.state {
            State::Absent => self.create(name, &draft).await,
            State::Empty => self.first(name, &draft).await,
            State::At(id) => self.next(name, &draft, id).await,
        };
        done.map_or_else(Trouble::outcome, Outcome::Done)
    }

    /// Makes the secret, whose first version is current at once.
    async fn create(&self, name: &str, draft: &Draft<'_>) -> Result<Written, Trouble> {
        let (text, bytes) = draft.stored.parts()?;
        let call = self.client.create_secret().name(name).client_request_token(&draft.id);
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
        let call = call.version_stages(draft.label).set_secret_string(text).set_secret_binary(bytes);
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
            label: PENDING,
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
            Draft { id: fence_id(token, base), label: FENCE, stored: Stored { text, binary }, names, hide: Vec::new() }
        };
        self.replace(&place.path, base, draft).await
    }

    fn stages(&self) -> bool {
        true
    }
}

/// A new connection for each call: nearly every call carries a secret, and a kept connection keeps its buffers too. And
/// no proxy from the environment, as for all our calls.
fn connections() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().pool_max_idle_per_host(0);
    builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
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
