//! What a secret is beside what it says: its KMS key, tags and replicas, and whether AWS rotates it itself.
//!
//! They are given to a secret when it is made. Of one that exists, only a replica that is missing is added, before the next
//! pair is put there: consumers in that region wait for it. Its key and its tags are left as they are: a tag can decide who
//! may read the secret ("adding or removing a tag can change permissions", API reference, `CreateSecret`), and another key
//! can shut consumers out. `rekeyd check --online` tells what differs.
//!
//! **Replicas.** AWS copies each version to them after the write has been answered. A secret whose replicas are not all
//! `InSync` can not be read as a place: so no rotation begins, and none is called published, and no old key dies, while a
//! consumer in another region may be without the new pair. It is AWS's word for it; nothing is read in the other region.
//!
//! **Two rotators.** A secret that AWS rotates itself (`RotationEnabled`) is neither read as a place nor written.

use super::super::redact::redact;
use super::trouble::Trouble;
use crate::model::fault::Fault;
use crate::model::policy::{Replica, SecretsManagerPolicy};
use aws_sdk_secretsmanager::operation::create_secret::builders::CreateSecretFluentBuilder;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::{ReplicaRegionType, StatusType, Tag};
use std::collections::BTreeMap;

/// What the policy wants of each secret.
#[derive(Default)]
pub(super) struct Making {
    kms_key: Option<String>,
    tags: BTreeMap<String, String>,
    replicas: Vec<Replica>,
}

impl Making {
    pub(super) fn of(policy: &SecretsManagerPolicy) -> Self {
        let SecretsManagerPolicy { kms_key, tags, replicas, .. } = policy.clone();
        Self { kms_key, tags, replicas }
    }

    /// Adds to a creation what is wanted of the secret.
    pub(super) fn dress(&self, call: CreateSecretFluentBuilder) -> CreateSecretFluentBuilder {
        let tags = self.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let call = call.set_kms_key_id(self.kms_key.clone());
        let call = tags.fold(call, |call, tag| call.tags(tag));
        self.replicas.iter().fold(call, |call, replica| call.add_replica_regions(copy(replica)))
    }

    /// The replicas that the secret does not have.
    pub(super) fn missing(&self, secret: &DescribeSecretOutput) -> Vec<ReplicaRegionType> {
        let there = |region: &str| secret.replication_status().iter().any(|copy| copy.region() == Some(region));
        self.replicas.iter().filter(|replica| !there(&replica.region)).map(copy).collect()
    }

    /// Whether every replica that there is has what the secret says.
    pub(super) fn in_step(secret: &DescribeSecretOutput) -> Result<(), Trouble> {
        for replica in secret.replication_status() {
            let region = replica.region().unwrap_or("a region without a name");
            match replica.status() {
                Some(StatusType::InSync) => (),
                Some(StatusType::InProgress) => {
                    let detail = format!("AWS is still copying it to {region}");
                    return Err(Trouble::refusal(Fault::Missing, &detail));
                }
                Some(StatusType::Failed | _) | None => {
                    let why = redact(replica.status_message().unwrap_or("AWS does not say why"), []);
                    return Err(Trouble::refusal(Fault::Refused, &format!("it is not copied to {region}: {why}")));
                }
            }
        }
        Ok(())
    }

    /// What the secret is otherwise than the policy says, each in a sentence.
    pub(super) fn differences(&self, secret: &DescribeSecretOutput) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(wanted) = self.kms_key.as_deref() {
            match secret.kms_key_id() {
                None => told.push(format!("it is encrypted with AWS's own key, not with {wanted}")),
                Some(other) if differ(wanted, other) => {
                    told.push(format!("it is encrypted with {other}, not with {wanted}"));
                }
                Some(_) => (),
            }
        }
        for (key, value) in &self.tags {
            match secret.tags().iter().find(|tag| tag.key() == Some(key)) {
                None => told.push(format!("it has no tag `{key}`")),
                Some(tag) if tag.value().unwrap_or_default() != value => {
                    told.push(format!("its tag `{key}` is not `{value}`"));
                }
                Some(_) => (),
            }
        }
        let missing = self.missing(secret).into_iter().filter_map(|replica| replica.region);
        told.extend(missing.map(|region| format!("it is not copied to {region}; the next rotation sees to that")));
        told
    }
}

/// Refuses a secret that AWS rotates itself.
pub(super) fn alone(secret: &DescribeSecretOutput, name: &str) -> Result<(), Trouble> {
    if secret.rotation_enabled() != Some(true) {
        return Ok(());
    }
    let end = format!("aws secretsmanager cancel-rotate-secret --secret-id {name}");
    Err(Trouble::refusal(Fault::Refused, &format!("AWS rotates this secret itself; to end that: {end}")))
}

fn copy(Replica { region, kms_key }: &Replica) -> ReplicaRegionType {
    ReplicaRegionType::builder().region(region).set_kms_key_id(kms_key.clone()).build()
}

/// Whether two names of KMS keys are certainly of two keys. One may be an ARN and the other not; what an alias stands for
/// is not known here.
fn differ(one: &str, other: &str) -> bool {
    let bare = |name: &str| {
        let rest = if name.starts_with("arn:") { name.split(':').nth(5).unwrap_or_default() } else { name };
        rest.strip_prefix("key/").unwrap_or(rest).to_owned()
    };
    let (one, other) = (bare(one), bare(other));
    one.starts_with("alias/") == other.starts_with("alias/") && one != other
}
