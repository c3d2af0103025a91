//! What Twilio remembers of every change: the Events resource of Monitor (Twilio docs, "Monitor Events"; `monitor.twilio.com`,
//! version 1).

use super::access::Caller;
use super::call::{Answer, Refusal, Request};
use super::page::Paging;
use super::world::World;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use std::collections::VecDeque;

/// One change of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its SID, `AE…`.
    pub sid: String,
    /// The account in which it happened.
    pub account: AccountSid,
    /// Who did it: an account, whatever it signed in with, or a person.
    pub actor: String,
    /// `account` for a call, `user` for a person in the Console.
    pub actor_type: &'static str,
    /// `api` or `web`.
    pub source: &'static str,
    /// When, by Twilio's clock.
    pub at: Timestamp,
    /// The kind of thing, such as `account-api-keys`.
    pub resource_type: &'static str,
    /// What happened to it, such as `created`.
    pub action: &'static str,
    /// The thing.
    pub resource: String,
    /// What is another now: the member, how it was, how it is.
    pub changes: Vec<(&'static str, Option<String>, Option<String>)>,
}

impl Event {
    /// `account-api-keys.created`.
    pub fn kind(&self) -> String {
        format!("{}.{}", self.resource_type, self.action)
    }
}

/// Where every call comes from: the sandbox listens on loopback only.
pub(super) const SOURCE_IP_ADDRESS: &str = "127.0.0.1";

/// The person who does by hand what is done by hand.
const PERSON: &str = "US00000000000000000000000000000001";

/// Which events are wanted, as it was written in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `ActorSid`.
    pub actor: Option<String>,
    /// `EventType`.
    pub kind: Option<String>,
    /// `ResourceSid`.
    pub resource: Option<String>,
    /// `SourceIpAddress`.
    pub address: Option<String>,
    /// `StartDate`: on or after.
    pub start: Option<String>,
    /// `EndDate`: on or before.
    pub end: Option<String>,
}

impl Filter {
    /// The test that it stands for.
    fn test(&self) -> Result<impl Fn(&Event) -> bool + '_, Refusal> {
        let start = self.start.as_deref().map(|text| moment(text, Time::midnight())).transpose()?;
        let end = self.end.as_deref().map(|text| moment(text, Time::MAX)).transpose()?;
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        Ok(move |event: &Event| {
            is(&self.actor, &event.actor)
                && is(&self.kind, &event.kind())
                && is(&self.resource, &event.resource)
                && is(&self.address, SOURCE_IP_ADDRESS)
                && start.is_none_or(|start| event.at >= start)
                && end.is_none_or(|end| event.at <= end)
        })
    }
}

/// ISO 8601, a moment or a whole day in GMT.
fn moment(text: &str, of_day: Time) -> Result<Timestamp, Refusal> {
    let day = || text.parse::<Date>().ok()?.to_datetime(of_day).to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    text.parse().ok().or_else(day).ok_or(Refusal::BadDate)
}

/// The events, oldest first; the oldest are forgotten when there are too many, as Twilio forgets them after 30 days.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: VecDeque<Event>,
    count: u64,
}

/// How many events are kept.
const KEPT: usize = 100_000;

impl Events {
    fn add(&mut self, event: Event) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.count += 1;
        self.kept.push_back(Event { sid: format!("AE{:032x}", self.count), ..event });
    }
}

/// The thing that was changed, and what was done to it.
type Deed = (&'static str, &'static str, String);

impl World {
    /// Every event that is remembered, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.kept.iter()
    }

    pub(super) fn list_events(
        &self,
        account: &AccountSid,
        filter: &Filter,
        paging: &Paging,
    ) -> Result<Answer, Refusal> {
        let wanted = filter.test()?;
        let found = self.events().rev().filter(|event| event.account == *account && wanted(event)).cloned();
        paging.cut(found.collect()).map(Answer::Events)
    }

    pub(super) fn fetch_event(&self, account: &AccountSid, sid: &str) -> Result<Answer, Refusal> {
        let found = self.events().find(|event| event.sid == sid && event.account == *account);
        found.cloned().map(Answer::Event).ok_or(Refusal::NotFound)
    }

    /// A call that changed something leaves one event. `before` is how that looked.
    pub(super) fn remember(
        &mut self,
        now: Timestamp,
        (caller, account): (&Caller, &AccountSid),
        request: &Request,
        answer: &Answer,
        before: Look,
    ) {
        let Some((resource_type, action, resource)) = deed(request, answer, account) else { return };
        let after = self.look(account, request);
        let members = ["friendly_name", "status"].into_iter().zip(before.into_iter().zip(after));
        let changed = members.filter(|(_, (before, after))| before != after);
        let changes = changed.map(|(member, (before, after))| (member, before, after)).collect();
        let (actor, account) = (caller.account.to_string(), account.clone());
        let (actor_type, source, at, sid) = ("account", "api", self.twilio_time(now), String::new());
        let event = Event { sid, account, actor, actor_type, source, at, resource_type, action, resource, changes };
        self.events.add(event);
    }

    /// A person did something to a key, in the Console.
    pub(super) fn remember_by_hand(&mut self, now: Timestamp, action: &'static str, key: &KeySid) {
        let Some(account) = self.keys.get(key).map(|key| key.account.clone()) else { return };
        let (sid, actor, at, resource) = (String::new(), PERSON.to_owned(), self.twilio_time(now), key.to_string());
        let (actor_type, source, resource_type, changes) = ("user", "web", KEYS, Vec::new());
        let event = Event { sid, account, actor, actor_type, source, at, resource_type, action, resource, changes };
        self.events.add(event);
    }

    /// How the thing looks that a request is about to change: its name, and its status.
    pub(super) fn look(&self, account: &AccountSid, request: &Request) -> Look {
        let key = |sid: &str| self.keys.get(&KeySid::new(sid).ok()?);
        let public_key = |sid: &str| self.public_keys.get(&PublicKeySid::new(sid).ok()?);
        if let Request::UpdateKey { sid, .. } = request {
            [key(sid).and_then(|key| key.name.clone()), None]
        } else if let Request::UpdatePublicKey { sid, .. } = request {
            [public_key(sid).and_then(|key| key.name.clone()), None]
        } else if let (Request::UpdateAccount { .. }, Some(found)) = (request, self.accounts.get(account)) {
            [Some(found.name.clone()), Some(found.status.word().to_owned())]
        } else {
            [None, None]
        }
    }
}

/// Name and status of a thing.
pub(super) type Look = [Option<String>; 2];

/// Which of two types tells of keys is nowhere written: `account-api-keys` or `account-keys`.
const KEYS: &str = "account-api-keys";
const PUBLIC_KEYS: &str = "account-credentials";
const TOKENS: &str = "account-auth-token";
const ACCOUNTS: &str = "account";

/// What a call did; nothing if it only looked (event types: Twilio docs, "Monitor Events").
fn deed(request: &Request, answer: &Answer, account: &AccountSid) -> Option<Deed> {
    let updates =
        matches!(request, Request::UpdateKey { .. } | Request::UpdatePublicKey { .. } | Request::UpdateAccount { .. });
    Some(match answer {
        Answer::Created(view, _) => (KEYS, "created", view.sid.to_string()),
        Answer::Key(view) if updates => (KEYS, "updated", view.sid.to_string()),
        Answer::Deleted(sid) => (KEYS, "deleted", sid.to_string()),
        Answer::PublicKeyMade(view) => (PUBLIC_KEYS, "created", view.sid.to_string()),
        Answer::PublicKey(view) if updates => (PUBLIC_KEYS, "updated", view.sid.to_string()),
        Answer::PublicKeyDeleted(sid) => (PUBLIC_KEYS, "deleted", sid.to_string()),
        Answer::AccountMade(view) => (ACCOUNTS, "created", view.sid.to_string()),
        Answer::Account(view) if updates => (ACCOUNTS, "updated", view.sid.to_string()),
        Answer::SecondaryTokenMade(_) => (TOKENS, "secondary-created", account.to_string()),
        Answer::SecondaryTokenDeleted => (TOKENS, "secondary-deleted", account.to_string()),
        Answer::TokenPromoted(_) => (TOKENS, "promoted", account.to_string()),
        Answer::Key(_) | Answer::Keys(_) | Answer::PublicKey(_) | Answer::PublicKeys(_) => return None,
        Answer::Account(_) | Answer::Accounts(_) | Answer::Numbers(..) | Answer::Messages(..) => return None,
        Answer::Event(_) | Answer::Events(_) => return None,
    })
}
