//! The state of the sandbox: accounts, keys with their secrets, what is on its way, and the audit.
//!
//! A plain state machine without I/O, tasks or a clock. A door brings each call in three steps: [`World::arrive`] decides
//! what will happen to it, [`World::perform`] does the work, [`World::depart`] frees its place. Between the first two the
//! door lets the time pass that the ticket asks for, whatever time is to that door.

use super::access::Caller;
use super::accounts::Account;
use super::audit::{Audit, Denial, Entry};
use super::call::{Answer, Call, Operation, Refusal, Reply, Request};
use super::chance::Chance;
use super::events::Events;
use super::faults::{ErrorStatus, Fault, Faults};
use super::keys::Key;
use super::public_keys::PublicKey;
use super::script::Script;
use super::signature::{Form, Wire};
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::time::later;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that the sandbox knows.
pub struct World {
    /// The settings. Keys that were made or deleted under other settings keep the delays of that time.
    pub faults: Faults,
    /// What the next calls meet; it goes before faults that strike by chance.
    pub script: Script,
    pub(super) accounts: BTreeMap<AccountSid, Account>,
    pub(super) keys: BTreeMap<KeySid, Key>,
    pub(super) public_keys: BTreeMap<PublicKeySid, PublicKey>,
    pub(super) chance: Chance,
    pub(super) events: Events,
    audit: Audit,
    /// Requests that will be delivered at that time, in the order in which they were sent.
    late: BTreeMap<(Timestamp, u64), (Call, Fault)>,
    under_way: BTreeMap<AccountSid, u32>,
    postponed: u64,
}

/// What was seen of a caller's credentials.
#[derive(Default)]
struct Seen {
    denied: Option<Denial>,
    signed: Option<Form>,
    signer: Option<PublicKeySid>,
}

/// What was decided about a call when it arrived.
#[derive(Debug)]
pub struct Ticket {
    /// The id that Twilio gives to the request.
    pub id: String,
    /// How long the call waits before it is worked on.
    pub latency: Duration,
    /// How many calls its account has under way, this one included.
    pub concurrent: u32,
    account: Option<AccountSid>,
    crowded: bool,
    fault: Option<Fault>,
}

impl World {
    /// A world without accounts; the seed decides every choice and every secret in it.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            public_keys: BTreeMap::new(),
            faults,
            chance: Chance::new(seed),
            events: Events::default(),
            script: Script::default(),
            audit: Audit::default(),
            late: BTreeMap::new(),
            under_way: BTreeMap::new(),
            postponed: 0,
        }
    }

    /// Decides what will happen to a call, and counts it as under way.
    pub fn arrive(&mut self, now: Timestamp, call: &Call) -> Ticket {
        self.settle(now);
        let (operation, account) = (call.request.operation(), self.account_of(call));
        let scripted = self.script.take(operation, account.as_ref());
        let fault = scripted.or_else(|| self.faults.draw(operation, &mut self.chance));
        let mut latency = self.faults.latency_ms.draw(&mut self.chance);
        if let Some(Fault::SlowStart { ms }) = fault {
            latency += Duration::from_millis(ms);
        }
        let mut concurrent = 1;
        if let Some(account) = &account {
            let count = self.under_way.entry(account.clone()).or_default();
            *count += 1;
            concurrent = *count;
        }
        let crowded = self.faults.concurrency.is_some_and(|most| concurrent > most);
        Ticket { id: self.chance.request_id(), latency, concurrent, account, crowded, fault }
    }

    /// Works on a call that arrived.
    pub fn perform(&mut self, now: Timestamp, ticket: &Ticket, call: Call) -> Reply {
        self.settle(now);
        let answer = match (ticket.turned_away(), ticket.fault) {
            (Some(refusal), _) => self.turn_away(now, &call, ticket, refusal),
            (None, Some(fault @ Fault::Late { ms })) => self.postpone(now, ms, call, fault),
            (None, Some(Fault::Twice)) => {
                let first = self.work(now, &call, ticket.fault);
                drop(self.work(now, &call, ticket.fault));
                first
            }
            (None, Some(Fault::ErrorAfter { status })) => {
                drop(self.work(now, &call, ticket.fault));
                Err(Refusal::Broken(status))
            }
            (None, fault) => self.work(now, &call, fault),
        };
        Reply { answer, delivery: ticket.fault.into() }
    }

    /// Counts a call as no longer under way.
    pub fn depart(&mut self, ticket: &Ticket) {
        let Some(account) = &ticket.account else { return };
        let count = self.under_way.remove(account).unwrap_or_default().saturating_sub(1);
        if count > 0 {
            self.under_way.insert(account.clone(), count);
        }
    }

    /// Delivers what was on its way and should have arrived by now. Every entrance does this first; a test that looks at
    /// keys without a call does it by itself.
    pub fn settle(&mut self, now: Timestamp) {
        while let Some(next) = self.late.first_entry().filter(|next| next.key().0 <= now) {
            let ((due, _), (call, fault)) = next.remove_entry();
            drop(self.work(due, &call, Some(fault)));
        }
    }

    fn postpone(&mut self, now: Timestamp, ms: u64, call: Call, fault: Fault) -> Result<Answer, Refusal> {
        let due = later(now, Duration::from_millis(ms));
        self.postponed += 1;
        self.late.insert((due, self.postponed), (call, fault));
        Err(Refusal::Broken(ErrorStatus::GATEWAY_TIMEOUT))
    }

    fn work(&mut self, now: Timestamp, call: &Call, fault: Option<Fault>) -> Result<Answer, Refusal> {
        let (result, seen) = match self.admit(now, call) {
            Ok((caller, account, signed)) => {
                let before = self.look(&account, &call.request);
                let home = Home { account: account.clone(), region: call.region.clone() };
                let result = self.carry_out(now, &caller, &home, &call.request);
                if let Ok(answer) = &result {
                    self.remember(now, (&caller, &account), &call.request, answer, before);
                }
                let signer = signed.and(call.wire.as_ref()).and_then(Wire::signer);
                (result, Seen { denied: None, signed, signer })
            }
            Err((refusal, denial)) => (Err(refusal), Seen { denied: Some(denial), ..Seen::default() }),
        };
        self.note(now, call, &result, seen, fault);
        result
    }

    fn carry_out(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        home: &Home,
        request: &Request,
    ) -> Result<Answer, Refusal> {
        let account = &home.account;
        match request {
            Request::CreateKey { name, policy } => {
                self.create_key(now, caller, home, name.as_deref(), policy.as_deref())
            }
            Request::ListKeys(paging) => self.list_keys(now, home, paging),
            Request::FetchKey { sid } => self.fetch_key(home, sid),
            Request::UpdateKey { sid, name, policy } => {
                self.update_key(now, home, sid, name.as_deref(), policy.as_deref())
            }
            Request::DeleteKey { sid } => self.delete_key(now, caller, home, sid),
            Request::CreateAccount { name } => self.create_account(now, caller, name.as_deref()),
            Request::FetchAccount => self.fetch_account(caller, account),
            Request::UpdateAccount { name, status } => {
                self.update_account(caller, account, name.as_deref(), status.as_deref())
            }
            Request::ListAccounts { name, status, paging } => {
                self.list_accounts(caller, name.as_deref(), status.as_deref(), paging)
            }
            Request::ListNumbers(paging) => self.list_numbers(account, paging),
            Request::ListMessages(paging) => self.list_messages(account, paging),
            Request::CreatePublicKey { name, pem } => {
                self.create_public_key(now, home, name.as_deref(), pem.as_deref())
            }
            Request::ListPublicKeys(paging) => self.list_public_keys(home, paging),
            Request::FetchPublicKey { sid } => self.fetch_public_key(home, sid),
            Request::UpdatePublicKey { sid, name } => self.update_public_key(now, home, sid, name.as_deref()),
            Request::DeletePublicKey { sid } => self.delete_public_key(home, sid),
            Request::CreateSecondaryToken { quiet } => self.create_secondary_token(now, account, quiet.as_deref()),
            Request::DeleteSecondaryToken { quiet } => self.delete_secondary_token(account, quiet.as_deref()),
            Request::PromoteToken { quiet } => self.promote_token(now, account, quiet.as_deref()),
            Request::ListEvents { filter, paging } => self.list_events(account, filter, paging),
            Request::FetchEvent { sid } => self.fetch_event(account, sid),
        }
    }

    fn turn_away(&mut self, now: Timestamp, call: &Call, ticket: &Ticket, refusal: Refusal) -> Result<Answer, Refusal> {
        self.note(now, call, &Err(refusal), Seen::default(), ticket.fault);
        Err(refusal)
    }

    /// Writes one call into the audit.
    fn note(&mut self, at: Timestamp, call: &Call, result: &Result<Answer, Refusal>, seen: Seen, fault: Option<Fault>) {
        let (status, code) = match result {
            Ok(answer) => (answer.status(), None),
            Err(refusal) => (refusal.terms().0, refusal.terms().1),
        };
        let user = call.credentials.as_ref().map(|credentials| credentials.user.clone());
        let user = user.filter(|user| AccountSid::new(user).is_ok() || KeySid::new(user).is_ok());
        let (operation, account) = (call.request.operation(), self.account_of(call));
        let key = result.as_ref().ok().and_then(Answer::key);
        let Seen { denied, signed, signer } = seen;
        let region = call.region.clone();
        self.audit.note(Entry {
            at,
            operation,
            account,
            region,
            user,
            key,
            status,
            code,
            denied,
            fault,
            signed,
            signer,
        });
    }

    /// The account that a call is about, before anything about it was checked.
    fn account_of(&self, call: &Call) -> Option<AccountSid> {
        let named = call.account.as_ref().and_then(|sid| AccountSid::new(sid).ok());
        named.or_else(|| {
            let user = &call.credentials.as_ref()?.user;
            let key = KeySid::new(user).ok().and_then(|sid| self.keys.get(&sid));
            key.map(|key| key.account.clone()).or_else(|| AccountSid::new(user).ok())
        })
    }

    /// Twilio's clock.
    pub fn twilio_time(&self, now: Timestamp) -> Timestamp {
        now.checked_add(SignedDuration::from_millis(self.faults.clock_offset_ms)).unwrap_or(now)
    }

    /// Every call so far.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Every account.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// Every key that ever was.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// One key, dead or alive.
    pub fn key(&self, sid: &KeySid) -> Option<&Key> {
        self.keys.get(sid)
    }

    /// Requests that were sent and have not arrived yet.
    pub fn on_its_way(&self) -> impl Iterator<Item = (Timestamp, Operation)> {
        self.late.iter().map(|((due, _), (call, _))| (*due, call.request.operation()))
    }
}

impl Ticket {
    /// The refusal of a call that is not even looked at.
    fn turned_away(&self) -> Option<Refusal> {
        match self.fault {
            _ if self.crowded => Some(Refusal::TooManyRequests),
            Some(Fault::RateLimited) => Some(Refusal::TooManyRequests),
            Some(Fault::Refused) => Some(Refusal::Authenticate),
            Some(Fault::ErrorBefore { status }) => Some(Refusal::Broken(status)),
            _ => None,
        }
    }
}
