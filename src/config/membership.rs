//! Who belongs to a fleet: the policy with a credential for each account that was found, and who was left out and why.
//!
//! Names of accounts are free text that others may choose: they are checked like everything else that comes from outside, so
//! that none can lead to another place than its own.

use super::credentials::MOST;
use super::places::fit;
use super::sinks::{identity, kind};
use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID, Choice, Fleet, Listed, Membership};
use crate::model::home::Home;
use crate::model::key::AccountSid;
use crate::model::names::{CredentialName, Place};
use crate::model::policy::{Policy, Rules, SinkPolicy};
use crate::model::rotation::State;
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// A policy with the members of its fleets among the credentials.
pub struct Whole {
    /// The policy.
    pub policy: Policy,
    /// The accounts that could not be taken in, with the reason.
    pub left_out: Vec<String>,
}

/// Takes in the accounts that Twilio lists; without a list, those that the policy itself names.
pub fn whole(policy: &Policy, listed: Option<&[Listed]>) -> Whole {
    let mut building = Building::of(policy);
    for fleet in &policy.fleets {
        let accounts = match listed {
            Some(listed) => chosen(fleet, listed),
            None => unasked(fleet),
        };
        for (index, (account, name)) in accounts.into_iter().enumerate() {
            let canary = index < fleet.waves.canary;
            if let Err(why) = building.take_in(fleet, account, name, canary) {
                building.left_out.push(format!("{account} is left out of the fleet `{}`: {why}", fleet.name));
            }
        }
    }
    Whole { policy: building.policy, left_out: building.left_out }
}

/// A credential as the journal has it.
pub type Remembered<'r> = (&'r CredentialName, &'r Home, &'r State);

/// Takes in what the journal knows: for those who look on, and have not asked Twilio.
pub fn remembered<'r>(policy: &Policy, rows: impl IntoIterator<Item = Remembered<'r>>) -> Policy {
    let mut policy = policy.clone();
    for (name, home, state) in rows {
        let fleet = policy.fleets.iter().find(|fleet| fleet.member(&home.account).as_ref() == Some(name));
        let Some(fleet) = fleet else { continue };
        let (name, home) = (name.clone(), home.clone());
        let places = state.places().cloned().collect();
        let member = Some(Membership { fleet: fleet.name.clone(), canary: false });
        let rules = Rules { name: name.clone(), home, places, member, ..fleet.each.clone() };
        policy.credentials.entry(name).or_insert(rules);
    }
    policy
}

/// The accounts of a fleet, those first that go first: as the policy lists them, or else the oldest first. An account that is
/// suspended holds nobody up.
fn chosen<'l>(fleet: &'l Fleet, listed: &'l [Listed]) -> Vec<(&'l AccountSid, Option<&'l str>)> {
    let mut accounts: Vec<&Listed> = match &fleet.choice {
        Choice::Listed(sids) => {
            let found: BTreeMap<_, _> = listed.iter().map(|account| (&account.sid, account)).collect();
            sids.iter().filter_map(|sid| found.get(sid).copied()).collect()
        }
        Choice::Named(pattern) => {
            let own = &fleet.each.home.account;
            let mut named: Vec<_> =
                listed.iter().filter(|account| account.sid != *own && pattern.fits(&account.name)).collect();
            named.sort_by(|a, b| (a.created, &a.sid).cmp(&(b.created, &b.sid)));
            named
        }
    };
    accounts.retain(|account| !account.closed);
    accounts.sort_by_key(|account| !account.active);
    accounts.into_iter().map(|account| (&account.sid, Some(account.name.as_str()))).collect()
}

/// The accounts that Twilio need not be asked about.
fn unasked(fleet: &Fleet) -> Vec<(&AccountSid, Option<&str>)> {
    match &fleet.choice {
        Choice::Listed(sids) if !fleet.is_discovered() => sids.iter().map(|sid| (sid, None)).collect(),
        Choice::Listed(_) | Choice::Named(_) => Vec::new(),
    }
}

struct Building {
    policy: Policy,
    left_out: Vec<String>,
    /// The places that are taken, by store.
    taken: BTreeSet<(String, String)>,
    /// Names that two accounts would have: neither gets it, or it would depend on the other who has it.
    doubled: BTreeSet<CredentialName>,
}

impl Building {
    fn of(policy: &Policy) -> Self {
        let policy = policy.clone();
        let main_keys = policy.twilio.accesses().filter_map(|access| access.admin.secret.place());
        let places = policy.credentials.values().flat_map(|rules| &rules.places).chain(main_keys);
        let taken = places.filter_map(|place| Some((identity(policy.sinks.get(&place.sink)?), place.path.to_string())));
        Self { taken: taken.collect(), left_out: Vec::new(), doubled: BTreeSet::new(), policy }
    }

    fn take_in(
        &mut self,
        fleet: &Fleet,
        account: &AccountSid,
        called: Option<&str>,
        canary: bool,
    ) -> Result<(), String> {
        let name = fleet.member(account).ok_or("no name can be made for it")?;
        if let Some(first) = self.policy.credentials.get(&name) {
            let message = format!("a credential `{name}` is there already, of {}", first.home);
            let theirs = first.member.as_ref().is_some_and(|member| member.fleet == fleet.name);
            if theirs && first.home.account != *account {
                self.policy.credentials.remove(&name);
                self.doubled.insert(name);
            }
            return Err(message);
        }
        if self.doubled.contains(&name) {
            return Err(format!("several accounts would have the name `{name}`"));
        }
        if self.policy.credentials.len() >= MOST {
            return Err(format!("there are {MOST} credentials already"));
        }
        let mut places = Vec::new();
        for template in &fleet.each.places {
            places.push(self.place(fleet, template, account, called)?);
        }
        let mine = places.iter().map(|(store, place)| (store.clone(), place.path.to_string()));
        self.taken.extend(mine);
        let rules = Rules {
            name: name.clone(),
            home: self.home(fleet, account),
            verify_url: fleet.each.verify_url.as_ref().map(|url| address(url, account)),
            places: places.into_iter().map(|(_, place)| place).collect(),
            member: Some(Membership { fleet: fleet.name.clone(), canary }),
            ..fleet.each.clone()
        };
        self.policy.credentials.insert(name, rules);
        Ok(())
    }

    /// Where the keys of a member live.
    fn home(&self, fleet: &Fleet, account: &AccountSid) -> Home {
        let usual = self.policy.twilio.home(account);
        Home { region: fleet.region.clone().unwrap_or(usual.region), ..usual }
    }

    /// The place of a member, with the store it is in.
    fn place(
        &self,
        fleet: &Fleet,
        template: &Place,
        account: &AccountSid,
        called: Option<&str>,
    ) -> Result<(String, Place), String> {
        let mut path = template.path.replace(ACCOUNT_SID, account.as_str());
        if path.contains(ACCOUNT_NAME) {
            let called = called.ok_or("its name is not known")?;
            path = path.replace(ACCOUNT_NAME, part(called)?);
        }
        let sink = self.policy.sinks.get(&template.sink).ok_or("its sink is not known")?;
        let path = fit(kind(sink), &path).map_err(|why| format!("`{path}`: {why}"))?;
        if let SinkPolicy::Directory { path: directory } = sink
            && fleet.reserved.contains(&directory.join(&path))
        {
            return Err(format!("`{path}` is a file that rekeyd itself needs"));
        }
        let store = identity(sink);
        if self.taken.contains(&(store.clone(), path.clone())) {
            return Err(format!("the place `{}:{path}` is taken", template.sink));
        }
        Ok((store, Place::new(template.sink.clone(), &path)))
    }
}

/// A name as a part of a path: nothing that could lead out of it.
fn part(name: &str) -> Result<&str, String> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !name.is_empty() && name.bytes().all(letters) && !name.starts_with('.');
    if fits {
        Ok(name)
    } else {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Err(format!("its name `{shown}` can not be a part of a path: only a-z, A-Z, 0-9 and -_. can, not first a ."))
    }
}

/// The address in the account: what stands for its SID was encoded when the address was read.
fn address(url: &Url, account: &AccountSid) -> Url {
    let text = url.as_str().replace("%7Baccount_sid%7D", account.as_str()).replace(ACCOUNT_SID, account.as_str());
    Url::parse(&text).unwrap_or_else(|_| url.clone())
}
