//! What the daemon signs in with, as it was read, and whether it is another by now.

use super::stored::Stores;
use crate::adapters::secrets;
use crate::model::names::{Place, Version};
use crate::model::policy::{Access, Policy, SecretSource, SinkPolicy, VaultPolicy};
use crate::ports::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The files and places of what manages keys, and the files of what signs requests and connections, as they were read.
pub(super) struct Sources {
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
    stores: Stores,
    versions: BTreeMap<Place, Version>,
}

impl Sources {
    pub(super) async fn of(policy: &Policy) -> Self {
        let mut files = BTreeSet::new();
        for Access { admin, pkcv, .. } in policy.twilio.accesses() {
            files.extend(admin.pkcv.iter().chain(pkcv).map(|pkcv| pkcv.private_key.clone()));
            if let SecretSource::File(path) | SecretSource::Admin(path) = &admin.secret {
                files.insert(path.clone());
            }
        }
        // A certificate that is shown to Vault ends, and is replaced before it does.
        for sink in policy.sinks.values() {
            if let SinkPolicy::Vault(VaultPolicy { client: Some(own), .. }) = sink {
                files.extend([own.certificate.clone(), own.key.clone()]);
            }
        }
        let files = files.into_iter().map(|file| (file.clone(), secrets::fingerprint(&file))).collect();
        // What can not be opened is told when the daemon begins, and so is who does not answer.
        let stores = Stores::of_policy(policy).await.unwrap_or_default();
        let versions = stores.versions(&mut BTreeSet::new()).await;
        Self { files, stores, versions }
    }

    /// Waits until one of them is another than when this daemon began. One that is not there now will be; and one that was
    /// not accepted is tried again, for it may be the rest that is mended.
    pub(super) async fn changed(&self, clock: &Arc<dyn Clock>) {
        let (mut silent, mut asked) = (BTreeSet::new(), clock.running());
        loop {
            clock.sleep(GLANCE).await;
            if clock.running().saturating_sub(asked) >= QUESTION {
                asked = clock.running();
                let versions = self.stores.versions(&mut silent).await;
                if versions.iter().any(|(place, version)| self.versions.get(place) != Some(version)) {
                    return;
                }
            }
            let differs = |(file, before): (&PathBuf, &Option<[u8; 32]>)| {
                secrets::fingerprint(file).is_some_and(|now| Some(now) != *before)
            };
            if self.files.iter().any(differs) {
                return;
            }
        }
    }
}

/// How often the files are looked at.
pub(super) const GLANCE: Duration = Duration::from_secs(5);
/// How often stores are asked for the version of a Main key: each time costs a call, which AWS puts on the bill.
const QUESTION: Duration = Duration::from_secs(30);
