//! One place of the policy that says what manages keys, and the accounts, in one region, whose keys it manages.

use super::super::assemble::no_client;
use super::super::stored::Stores;
use super::super::{CliError, Kind};
use super::Asked;
use super::candidate::kind;
use crate::adapters::clock::SystemClock;
use crate::adapters::http;
use crate::adapters::secrets;
use crate::adapters::twilio::{Read, TwilioClient, TwilioError};
use crate::config::whole;
use crate::model::fleet::{Fleet, Listed};
use crate::model::home::{Home, Region};
use crate::model::names::Place;
use crate::model::policy::{Access, Admin, Policy, SecretSource, SinkPolicy, TwilioPolicy};
use crate::model::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
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
    /// All of a policy: that of `[twilio]`, of each account that has one of its own, and of other regions.
    pub(super) fn all(policy: &'p Policy) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let twilio = &policy.twilio;
        let own = twilio.accounts.values().chain(twilio.regions.values()).chain(twilio.homes.values());
        for access in std::iter::once(&twilio.access).chain(own) {
            if !all.iter().any(|charge| charge.is_of(access)) {
                all.push(Self { admin: &access.admin, access, policy });
            }
        }
        all
    }

    /// That of an account in a region; of `[twilio]`, if none is named.
    pub(super) fn of(policy: &'p Policy, asked: &Asked) -> Result<Self, CliError> {
        let home = policy.twilio.home(asked.account.as_ref().unwrap_or(&policy.twilio.account));
        let home = Home { region: asked.region.clone().unwrap_or(home.region), ..home };
        let unknown = || CliError::new(Kind::Failed, format!("the policy says nothing of {home}"));
        let usual = home == policy.twilio.home(&policy.twilio.account) && asked.account.is_none();
        let mut all = Self::all(policy).into_iter();
        let found = if usual { all.next() } else { all.find(|charge| charge.serves(None).contains(&home)) };
        found.ok_or_else(unknown)
    }

    /// Whether this is what manages those keys: the same thing, in the same region.
    fn is_of(&self, access: &Access) -> bool {
        access.admin == *self.admin && access.region == self.access.region
    }

    /// Where what manages the keys lives itself.
    pub(super) fn home(&self) -> Home {
        Home { account: self.admin.account.clone(), region: self.access.region.clone() }
    }

    /// Whether the policy says it in `[twilio]`, or there for a region.
    fn is_usual(&self) -> bool {
        let twilio = &self.policy.twilio;
        self.is_of(&twilio.access) || twilio.regions.values().any(|access| self.is_of(access))
    }

    /// The region, if it is not the usual one of the account.
    fn region(&self) -> Option<&Region> {
        let twilio = &self.policy.twilio;
        let account = || twilio.home(&self.admin.account).region;
        let usual = if self.is_usual() { twilio.access.region.clone() } else { account() };
        Some(&self.access.region).filter(|region| **region != usual)
    }

    /// Where the policy says it.
    pub(super) fn written(&self) -> String {
        let table = if self.is_usual() { "twilio".to_owned() } else { format!("accounts.\"{}\"", self.admin.account) };
        let region = self.region().map(|region| format!(".regions.{region}")).unwrap_or_default();
        format!("[{table}{region}]")
    }

    /// The arguments that name it to `main-key` again.
    pub(super) fn argument(&self) -> String {
        let account = if self.is_usual() { String::new() } else { format!(" --account {}", self.admin.account) };
        let region = self.region().map(|region| format!(" --region {region}")).unwrap_or_default();
        account + &region
    }

    /// The accounts that Twilio lists, if it has to be asked who is served. It is asked where it always is: in the usual
    /// region, by the one who is to be proven if that is its own.
    pub(super) async fn listed(&self, candidate: &TwilioClient) -> Result<Option<Vec<Listed>>, CliError> {
        let discovered = self.is_usual() && self.policy.fleets.iter().any(Fleet::is_discovered);
        if !discovered {
            return Ok(None);
        }
        let listed = match self.region() {
            None => candidate.accounts().await,
            Some(_) => {
                Self { admin: &self.policy.twilio.access.admin, access: &self.policy.twilio.access, ..*self }
                    .present()
                    .await?
                    .accounts()
                    .await
            }
        };
        let unlisted = |failure| CliError::new(kind(&failure), format!("the accounts can not be listed: {failure}"));
        listed.answer().map(Some).map_err(unlisted)
    }

    /// Where the keys live that it manages; those of fleets are among them, as far as they are known.
    pub(super) fn serves(&self, listed: Option<&[Listed]>) -> BTreeSet<Home> {
        let twilio = &self.policy.twilio;
        let used = whole(self.policy, listed).policy.delete_budgets().into_keys();
        let named = twilio.accounts.keys().chain([&twilio.account]).map(|account| twilio.home(account));
        let main = |region: &Region| Home { account: twilio.account.clone(), region: region.clone() };
        let elsewhere = twilio.homes.keys().cloned().chain(twilio.regions.keys().map(main));
        let managed = |home: &Home| twilio.access_to(home).is_some_and(|access| self.is_of(access));
        used.chain(named).chain(elsewhere).filter(managed).collect()
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
        let twilio = &self.policy.twilio;
        let accounts = twilio.accounts.iter().filter(|(_, access)| self.is_of(access));
        let homes = twilio.homes.iter().filter(|(_, access)| self.is_of(access));
        let twilio = TwilioPolicy {
            account: admin.account.clone(),
            access: replaced(self.access),
            accounts: accounts.map(|(sid, access)| (sid.clone(), replaced(access))).collect(),
            regions: BTreeMap::new(),
            homes: homes.map(|(home, access)| (home.clone(), replaced(access))).collect(),
            key_pairs: BTreeSet::new(),
        };
        TwilioClient::new(&twilio, read, Arc::new(SystemClock::new()))
    }
}
