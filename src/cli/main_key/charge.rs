//! One place of the policy that says what manages keys, and the accounts whose keys it manages.

use super::super::assemble::no_client;
use super::super::stored::Stores;
use super::super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::http;
use crate::adapters::secrets;
use crate::adapters::twilio::{Read, TwilioClient, TwilioError};
use crate::config::whole;
use crate::model::fleet::{Fleet, Listed};
use crate::model::key::AccountSid;
use crate::model::names::Place;
use crate::model::policy::{Access, Admin, Policy, SecretSource, SinkPolicy, TwilioPolicy};
use crate::model::secret::Secret;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What manages keys, as the policy says it in one place.
#[derive(Clone, Copy)]
pub(super) struct Charge<'p> {
    pub(super) admin: &'p Admin,
    access: &'p Access,
    policy: &'p Policy,
}

impl<'p> Charge<'p> {
    /// All of a policy: that of `[twilio]`, and of each account that has one of its own.
    pub(super) fn all(policy: &'p Policy) -> Vec<Self> {
        let usual = &policy.twilio.access;
        let own = policy.twilio.accounts.values().filter(|access| access.admin != usual.admin);
        std::iter::once(usual).chain(own).map(|access| Self { admin: &access.admin, access, policy }).collect()
    }

    /// That of an account; of `[twilio]`, if none is named.
    pub(super) fn of(policy: &'p Policy, account: Option<&AccountSid>) -> Result<Self, CliError> {
        let Some(account) = account else {
            let access = &policy.twilio.access;
            return Ok(Self { admin: &access.admin, access, policy });
        };
        let unknown = || CliError::new(Kind::Failed, format!("the policy says nothing of {account}"));
        Self::all(policy).into_iter().find(|charge| charge.serves(None).contains(account)).ok_or_else(unknown)
    }

    /// Where the policy says it.
    pub(super) fn written(&self) -> String {
        match *self.admin == self.policy.twilio.access.admin {
            true => "[twilio]".to_owned(),
            false => format!("[accounts.\"{}\"]", self.admin.account),
        }
    }

    /// The argument that names it to `main-key` again.
    pub(super) fn argument(&self) -> String {
        match *self.admin == self.policy.twilio.access.admin {
            true => String::new(),
            false => format!(" --account {}", self.admin.account),
        }
    }

    /// Whether Twilio has to be asked who is served.
    pub(super) fn is_discovered(&self) -> bool {
        *self.admin == self.policy.twilio.access.admin && self.policy.fleets.iter().any(Fleet::is_discovered)
    }

    /// The accounts whose keys it manages; those of fleets are among them, as far as they are known.
    pub(super) fn serves(&self, listed: Option<&[Listed]>) -> BTreeSet<AccountSid> {
        let twilio = &self.policy.twilio;
        let used = whole(self.policy, listed).policy.delete_budgets().into_keys();
        let named = twilio.accounts.keys().chain([&twilio.account]).cloned();
        let managed = |sid: &AccountSid| twilio.accounts.get(sid).unwrap_or(&twilio.access).admin == *self.admin;
        used.chain(named).filter(managed).collect()
    }

    /// Twilio, managed with what the policy names now.
    pub(super) async fn present(&self) -> Result<TwilioClient, CliError> {
        http::install_crypto();
        let stored = Stores::of(self.policy, std::iter::once(self.admin)).await?.read().await?;
        let client = self.client(self.admin, &|source| stored.secret(source));
        client.map_err(|error| no_client(&error))
    }

    /// The sink that a place is in.
    pub(super) fn sink(&self, place: &Place) -> Option<&'p SinkPolicy> {
        self.policy.sinks.get(&place.sink)
    }

    /// Twilio, managed with what this text says, which is the content of that file. It is read once: what was proven is
    /// what takes the place of the old one.
    pub(super) fn with(&self, file: &Path, text: &Secret) -> Result<TwilioClient, TwilioError> {
        let source = SecretSource::Admin(file.to_owned());
        let admin = Admin { key: None, secret: source.clone(), ..self.admin.clone() };
        let read = |wanted: &SecretSource| if *wanted == source { Ok(text.duplicate()) } else { secrets::read(wanted) };
        self.client(&admin, &read)
    }

    fn client(&self, admin: &Admin, read: Read<'_>) -> Result<TwilioClient, TwilioError> {
        http::install_crypto();
        let replaced = |access: &Access| Access { admin: admin.clone(), ..access.clone() };
        let alike = self.policy.twilio.accounts.iter().filter(|(_, access)| access.admin == *self.admin);
        let twilio = TwilioPolicy {
            account: admin.account.clone(),
            access: replaced(self.access),
            accounts: alike.map(|(sid, access)| (sid.clone(), replaced(access))).collect(),
            key_pairs: BTreeSet::new(),
        };
        TwilioClient::new(&twilio, read, Arc::new(SystemClock::new()))
    }
}
