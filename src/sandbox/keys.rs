//! Keys: what they are, how humans make and delete them, and the five operations of the Keys resource.

use super::access::Caller;
use super::call::{Answer, KeyView, Refusal};
use super::page::Paging;
use super::world::World;
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, KeySid, LABEL_LIMIT};
use crate::model::permission::{MOST, Permission};
use crate::model::secret::Secret;
use crate::model::time::later;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::time::Duration;

/// A key, dead or alive.
pub struct Key {
    /// Its SID.
    pub sid: KeySid,
    /// Its secret.
    pub secret: Secret,
    /// The account it belongs to.
    pub account: AccountSid,
    /// The region it belongs to.
    pub region: Region,
    /// What it may do.
    pub kind: KeyKind,
    /// Its friendly name.
    pub name: Option<String>,
    /// How many keys were made before it, in all.
    pub serial: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// By which key or account; `console` for a human.
    pub made_by: String,
    /// From when on every edge knows of it.
    pub works_from: Timestamp,
    /// Its end.
    pub deleted: Option<Deletion>,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
    /// When it was last updated, by Twilio's clock.
    pub updated: Timestamp,
    /// What a Restricted key may do.
    pub allow: Vec<String>,
}

/// The end of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// By which key or account; `console` for a human.
    pub by: String,
    /// From when on every edge knows of it.
    pub works_until: Timestamp,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Everything; only humans can make such a key.
    Main,
    /// Everything but to manage accounts and keys.
    Standard,
    /// Only what its policy says.
    Restricted,
}

/// Who makes and deletes keys by hand.
const CONSOLE: &str = "console";

impl Key {
    /// What Twilio shows of it.
    fn view(&self) -> KeyView {
        KeyView {
            sid: self.sid.clone(),
            name: self.name.clone(),
            created: self.created,
            updated: self.updated,
            kind: self.kind,
            allow: self.allow.clone(),
        }
    }

    fn belongs_to(&self, home: &Home) -> bool {
        self.account == home.account && self.region == home.region
    }

    fn is_living_in(&self, home: &Home) -> bool {
        self.belongs_to(home) && self.deleted.is_none()
    }

    /// Whether it was there at that time.
    fn existed(&self, at: Timestamp) -> bool {
        self.made_at <= at && self.deleted.as_ref().is_none_or(|deletion| at < deletion.at)
    }
}

/// A key that is to be made.
pub struct NewKey {
    /// The account it shall belong to.
    pub account: AccountSid,
    /// What it may do.
    pub kind: KeyKind,
    /// Its friendly name.
    pub name: Option<String>,
    /// Its SID and secret, if they were chosen beforehand.
    pub pair: Option<(KeySid, Secret)>,
}

/// By hand, as in the Console.
impl World {
    /// A human makes a key. It works at once: people make keys long before they use them.
    pub fn make_by_hand(&mut self, now: Timestamp, new: NewKey) -> KeySid {
        self.make_by_hand_in(now, Region::us1(), new)
    }

    /// The same in another region.
    pub fn make_by_hand_in(&mut self, now: Timestamp, region: Region, new: NewKey) -> KeySid {
        let sid = self.insert(now, now, CONSOLE, region, new).sid.clone();
        self.remember_by_hand(now, "created", &sid);
        sid
    }

    /// A human deletes a key; false if there is no such living key.
    pub fn delete_by_hand(&mut self, now: Timestamp, sid: &KeySid) -> bool {
        self.settle(now);
        let buried = self.bury(now, sid, CONSOLE);
        if buried {
            self.remember_by_hand(now, "deleted", sid);
        }
        buried
    }

    fn insert(&mut self, now: Timestamp, works_from: Timestamp, by: &str, region: Region, new: NewKey) -> &Key {
        let NewKey { account, kind, name, pair } = new;
        let (sid, secret) = pair.unwrap_or_else(|| (self.chance.key_sid(), self.chance.key_secret()));
        let (serial, made_by, created) = (self.keys.len() as u64, by.to_owned(), self.twilio_time(now));
        let (made_at, updated, deleted, id) = (now, created, None, sid.clone());
        let key = Key {
            sid,
            secret,
            account,
            region,
            kind,
            name,
            serial,
            made_at,
            made_by,
            works_from,
            deleted,
            created,
            updated,
            allow: Vec::new(),
        };
        self.keys.entry(id).insert_entry(key).into_mut()
    }

    pub(super) fn bury(&mut self, now: Timestamp, sid: &KeySid, by: &str) -> bool {
        let works_until = later(now, Duration::from_millis(self.faults.delete_delay_ms));
        let Some(key) = self.keys.get_mut(sid).filter(|key| key.deleted.is_none()) else { return false };
        key.deleted = Some(Deletion { at: now, by: by.to_owned(), works_until });
        true
    }
}

/// The Keys resource.
impl World {
    pub(super) fn create_key(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        home: &Home,
        name: Option<&str>,
        policy: Option<&str>,
    ) -> Result<Answer, Refusal> {
        fits(name)?;
        let allow = policy.map(read_policy).transpose()?;
        if self.faults.restricted_may_not_exceed && caller.is_restricted() && allow.is_none() {
            return Err(Refusal::Exceeds);
        }
        let alive = |world: &Self| world.keys.values().filter(|key| key.is_living_in(home)).count();
        if self.faults.key_quota.is_some_and(|most| alive(self) >= most as usize) {
            return Err(Refusal::Quota);
        }
        let works_from = later(now, Duration::from_millis(self.faults.key_delay_ms));
        let kind = if allow.is_some() { KeyKind::Restricted } else { KeyKind::Standard };
        let (Home { account, region }, name) = (home.clone(), name.map(str::to_owned));
        let new = NewKey { account, kind, name, pair: None };
        let sid = self.insert(now, works_from, &caller.sid, region, new).sid.clone();
        let widened = self.faults.widen_policies;
        let key = self.keys.get_mut(&sid).ok_or(Refusal::NotFound)?;
        key.allow = allow.unwrap_or_default();
        if let (true, Some(first)) = (widened, key.allow.first_mut())
            && let Some((resource, _)) = first.clone().rsplit_once('/')
        {
            *first = format!("{resource}/*");
        }
        Ok(Answer::Created(key.view(), key.secret.duplicate()))
    }

    /// Lists the keys as they were a while ago, if lists lag: newest first by the second that Twilio shows (the direction
    /// is that of its published example), and those of one second in the order they were made, newest first.
    pub(super) fn list_keys(&self, now: Timestamp, home: &Home, paging: &Paging) -> Result<Answer, Refusal> {
        let lag = Duration::from_millis(self.faults.list_lag_ms);
        let then = now.checked_sub(lag).unwrap_or(Timestamp::MIN);
        let shown = |key: &&Key| key.belongs_to(home) && key.existed(then) && self.shows(key);
        let mut keys: Vec<&Key> = self.keys.values().filter(shown).collect();
        keys.sort_by_key(|key| Reverse((key.updated.as_second(), key.serial)));
        paging.cut(keys.into_iter().map(Key::view).collect()).map(Answer::Keys)
    }

    pub(super) fn fetch_key(&mut self, home: &Home, sid: &str) -> Result<Answer, Refusal> {
        let sid = self.living(home, sid)?.sid.clone();
        let key = self.keys.get(&sid).filter(|key| self.shows(key)).ok_or(Refusal::NotFound)?;
        Ok(Answer::Key(key.view()))
    }

    fn shows(&self, key: &Key) -> bool {
        key.kind != KeyKind::Main || !self.faults.hide_main_keys
    }

    pub(super) fn update_key(
        &mut self,
        now: Timestamp,
        home: &Home,
        sid: &str,
        name: Option<&str>,
        policy: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let updated = self.twilio_time(now);
        let key = self.living(home, sid)?;
        fits(name)?;
        // It replaces the whole policy (Twilio docs, "Key resource v1").
        match policy.map(read_policy).transpose()? {
            Some(allow) if key.kind == KeyKind::Restricted => key.allow = allow,
            Some(_) => return Err(Refusal::Constraint),
            None => (),
        }
        key.updated = updated;
        key.name = name.map(str::to_owned).or(key.name.take());
        Ok(Answer::Key(key.view()))
    }

    pub(super) fn delete_key(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        home: &Home,
        sid: &str,
    ) -> Result<Answer, Refusal> {
        let sid = self.living(home, sid)?.sid.clone();
        self.bury(now, &sid, &caller.sid);
        Ok(Answer::Deleted(sid))
    }

    /// A living key of the account: keys of other accounts and regions do not exist for the caller.
    fn living(&mut self, home: &Home, sid: &str) -> Result<&mut Key, Refusal> {
        let sid = KeySid::new(sid).map_err(|_| Refusal::WrongSid)?;
        let key = self.keys.get_mut(&sid).filter(|key| key.is_living_in(home));
        key.ok_or(Refusal::NotFound)
    }
}

/// The policy of a Restricted key: JSON text. A permission that is none is refused with its name (recorded from the real
/// service). Which there are is told in documents that are not at hand here: the sandbox takes every one of the right form
/// but those whose product begins with `fake`.
fn read_policy(text: &str) -> Result<Vec<String>, Refusal> {
    #[derive(Deserialize)]
    struct Policy {
        allow: Vec<String>,
    }
    let policy: Policy = serde_json::from_str(text).map_err(|_| Refusal::Constraint)?;
    let known = |text: &String| Permission::new(text).is_ok() && !text.starts_with("/twilio/fake");
    if policy.allow.is_empty() || policy.allow.len() > MOST {
        return Err(Refusal::Constraint);
    }
    match policy.allow.iter().all(known) {
        true => Ok(policy.allow),
        false => Err(Refusal::UnknownPermission),
    }
}

/// 64 characters are accepted, 65 are not (recorded from the real service; whether it counts bytes is not known). The names
/// of public keys have the same limit (Twilio docs, "CredentialPublicKey Resource").
pub(super) fn fits(name: Option<&str>) -> Result<(), Refusal> {
    let fits = name.is_none_or(|name| name.chars().count() <= LABEL_LIMIT);
    fits.then_some(()).ok_or(Refusal::Constraint)
}
