//! `[defaults]` and `[[credentials]]`: which keys are rotated, when, and where they go.

use super::cadence::{Calendar, cadence};
use super::duration::{DAY, SECOND, Short};
use super::homes::{Homes, Seat};
use super::kind::{Nature, kind};
use super::members::{of_api_keys, of_kind};
use super::places::Taken;
use super::reader::{Field, Table};
use super::regions::region;
use super::timing::Floors;
use super::twilio::{account_sid, key_sid, public_key_sid};
use crate::model::document::Members;
use crate::model::home::Region;
use crate::model::key::{AccountSid, KeySid, LABEL_LIMIT, Label};
use crate::model::names::{CredentialName, Instance};
use crate::model::policy::{Allow, Cadence, KeyKind, Rules, Verify};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use url::Url;

/// More credentials than this are refused: the engine is laid out for so many.
pub(super) const MOST: usize = 10_000;
const CREDENTIALS: &str = "tables `[[credentials]]`";
const VERIFY: &str = "{ successes = 3, over = \"10s\" }";

/// What the rest of the file says, as far as it could be read.
pub(super) struct Ground<'g> {
    pub instance: Option<Instance>,
    pub account: Option<AccountSid>,
    /// The keys that manage others.
    pub roots: Vec<KeySid>,
    pub homes: Homes,
    pub floors: Floors,
    pub defaults: Defaults<'g>,
    pub calendar: &'g Calendar,
}

/// `[defaults]`: `None` where it is wrong.
pub(super) struct Defaults<'d> {
    cadence: Option<Cadence>,
    grace: Option<Duration>,
    verify: Option<Verify>,
    members: Option<Members>,
    /// Where the file says so of grace or else of cadence, if it does.
    field: Option<Field<'d>>,
}

/// Reads `[defaults]`; all of it may be left out.
pub(super) fn defaults<'d>(table: Option<&'d Table<'_>>, floors: Floors, calendar: &Calendar) -> Defaults<'d> {
    let usual = Verify { successes: 3, over: 10 * SECOND };
    let mut defaults = Defaults {
        cadence: Some(Cadence::Every(30 * DAY)),
        grace: Some(DAY),
        verify: Some(usual.clone()),
        members: Some(Members::default()),
        field: None,
    };
    let Some(table) = table else { return defaults };
    match cadence(table, floors.interval(), calendar) {
        None => defaults.cadence = None,
        Some(None) => (),
        Some(Some((cadence, field))) => {
            defaults.cadence = Some(cadence);
            defaults.field = Some(field);
        }
    }
    if let Some(field) = table.field("grace") {
        defaults.grace = field.duration(floors.grace());
        defaults.field = Some(field);
    }
    defaults.verify = table.or("verify", usual.clone(), |field| verify(field, Some(&usual), floors));
    defaults.members = table.or("members", Members::default(), of_api_keys);
    table.finish();
    defaults
}

/// Reads `[[credentials]]`.
pub(super) fn credentials(
    field: Option<Field<'_>>,
    ground: &Ground<'_>,
    taken: &mut Taken<'_>,
) -> Option<BTreeMap<CredentialName, Rules>> {
    let Some(field) = field else { return Some(BTreeMap::new()) };
    let items = field.items(CREDENTIALS)?;
    let mut reader = Reader {
        ground,
        taken,
        names: HashMap::new(),
        adopted: HashMap::new(),
        tokens: HashMap::new(),
        liked: Vec::new(),
    };
    let read: Vec<_> = items.iter().map(|item| reader.credential(item)).collect();
    reader.templates(field);
    if let Some(next) = items.get(MOST) {
        next.wrong(format!("these are too many credentials: {}", items.len()), format!("at most {MOST} of them"));
    }
    read.into_iter().map(|rules| rules.map(|rules| (rules.name.clone(), rules))).collect()
}

/// Reads one credential after the other, and knows what each has taken for itself.
struct Reader<'r, 's> {
    ground: &'r Ground<'r>,
    taken: &'r mut Taken<'s>,
    /// By name: where.
    names: HashMap<String, usize>,
    /// By key, in small letters: where.
    adopted: HashMap<String, usize>,
    /// By account: where its auth token is rotated.
    tokens: HashMap<AccountSid, usize>,
    /// Keys that others are made like, and where.
    liked: Vec<(KeySid, usize)>,
}

impl Reader<'_, '_> {
    fn credential(&mut self, item: &Field<'_>) -> Option<Rules> {
        let mut table = item.table(CREDENTIALS)?;
        let called = table.peek("name").filter(|name| CredentialName::new(name).is_ok());
        if let Some(called) = called {
            table.rename(called);
        }
        let ground = self.ground;
        let name = table.need("name", CredentialName::ACCEPTS, |field| self.name(field));
        let account = table.maybe("account_sid", |field| ground.account(field));
        let account = account.and_then(|own| own.or(ground.account.clone()));
        let seat = ground.seat(&table, account.as_ref());
        let wanted = ground.wanted(&table, account.as_ref(), seat.as_ref().map(|(_, seat)| *seat));
        if let (Some(Wanted { kind: KeyKind::Restricted(Allow::LikeKey(like)), .. }), Some(field)) =
            (&wanted, table.field("clone_policy_of"))
        {
            self.liked.push((like.clone(), field.offset()));
        }
        let standard = KeyKind::Standard;
        let of = wanted.as_ref().map_or(&standard, |wanted| &wanted.kind);
        let adopt = table.maybe("adopt", |field| self.adopt(field, of));
        if let (true, Some(account), Some(field)) = (of.is_token(), &account, table.field("kind")) {
            self.only_token(account, field)?;
        }
        let places = self.taken.read(&table, called.unwrap_or("another credential"));
        let restarts = self.taken.restarts(&table);
        table.finish();
        let Wanted { cadence, grace, verify, kind, verify_url, members } = wanted?;
        let (places, restarts) = (places?, restarts?);
        if !self.taken.can_hold(&table, &places, &members) {
            return None;
        }
        Some(Rules {
            name: name?,
            home: ground.homes.home(&account?, seat?.0.as_ref())?,
            cadence,
            grace,
            verify,
            adopt: adopt?,
            kind,
            verify_url,
            members,
            places,
            restart: restarts.workloads,
            restart_pause: restarts.pause,
            member: None,
        })
    }

    fn name(&mut self, field: Field<'_>) -> Option<CredentialName> {
        let name = field.parse(CredentialName::ACCEPTS, |text| {
            CredentialName::new(text).map_err(|_| "this is no name for a credential")
        })?;
        if !self.ground.has_room_for(&name, field) {
            return None;
        }
        if let Some(first) = self.names.insert(name.to_string(), field.offset()) {
            let message = format!("there is a credential of this name already, in line {}", field.line_of(first));
            field.clashes(message, "a name of its own for each credential");
            return None;
        }
        Some(name)
    }

    /// A key that is replaced is no template: it would be gone after the first rotation.
    fn templates(&self, credentials: Field<'_>) {
        for (like, at) in &self.liked {
            if let Some(adopted) = self.adopted.get(&like.as_str().to_ascii_lowercase()) {
                let (here, there) = (credentials.line_of(*at), credentials.line_of(*adopted));
                let message =
                    format!("the key {like}, which keys are made like in line {here}, is replaced in line {there}");
                credentials.clashes(message, "another key in `clone_policy_of`, or a list in `allow`");
            }
        }
    }

    /// An account has one auth token, and so no two that are rotated.
    fn only_token(&mut self, account: &AccountSid, field: Field<'_>) -> Option<()> {
        let Some(first) = self.tokens.insert(account.clone(), field.offset()) else { return Some(()) };
        let message = format!("the auth token of {account} is rotated already, in line {}", field.line_of(first));
        field.clashes(message, "one credential, published to several places");
        None
    }

    fn adopt(&mut self, field: Field<'_>, of: &KeyKind) -> Option<KeySid> {
        if of.is_token() {
            field.clashes("an account always has an auth token, and the first rotation replaces it", "no such line");
            return None;
        }
        let pairs = *of == KeyKind::KeyPair;
        let sid = if pairs { KeySid::from(&public_key_sid(field)?) } else { key_sid(field)? };
        let accepts = "the SID of a hand-made key that this credential replaces";
        if sid.may_be_among(&self.ground.roots) {
            let root = if pairs { "this is the key that signs the calls of rekeyd" } else { "this is the Main key" };
            field.clashes(format!("{root}: once it is replaced, it would be deleted"), accepts);
            return None;
        }
        if let Some(first) = self.adopted.insert(sid.as_str().to_ascii_lowercase(), field.offset()) {
            let line = field.line_of(first);
            field.clashes(format!("this key is adopted already, in line {line}"), accepts);
            return None;
        }
        Some(sid)
    }
}

/// What can be said of a credential and of a fleet alike.
pub(super) struct Wanted {
    pub cadence: Cadence,
    pub grace: Duration,
    pub verify: Verify,
    pub kind: KeyKind,
    pub verify_url: Option<Url>,
    pub members: Members,
}

impl Ground<'_> {
    /// Reads `region`: where the keys live, and how they are managed there. What belongs to another region is no use.
    pub(super) fn seat(&self, table: &Table<'_>, account: Option<&AccountSid>) -> Option<(Option<Region>, &Seat)> {
        let said = table.maybe("region", |field| Some((region(field)?.0, field)))?;
        let Some((region, field)) = said else { return Some((None, self.homes.of(account, None)?)) };
        let seat = self.homes.of(account, Some(&region));
        if seat.is_none() && self.homes.whole() {
            let whose = account.map_or("of these accounts".to_owned(), |account| format!("of {account}"));
            let message =
                format!("keys belong to one region, and it is not said what manages those {whose} in {region}");
            let own =
                account.map(|account| format!("`[accounts.\"{account}\".regions.{region}]` or ")).unwrap_or_default();
            field.clashes(message, format!("{own}`[twilio.regions.{region}]`, with a Main key of that region"));
        }
        Some((Some(region), seat?))
    }

    /// Reads it; for a fleet there is no one account.
    pub(super) fn wanted(
        &self,
        table: &Table<'_>,
        account: Option<&AccountSid>,
        seat: Option<&Seat>,
    ) -> Option<Wanted> {
        let defaults = &self.defaults;
        let nature = kind(table, seat.unwrap_or(&Seat::default()), account, self.floors);
        let times = self.times(table, nature.as_ref().and_then(|nature| nature.tokens));
        let verify = table.maybe("verify", |field| verify(field, defaults.verify.as_ref(), self.floors));
        let standard = KeyKind::Standard;
        let of = nature.as_ref().map_or(&standard, |nature| &nature.kind);
        let members = of_kind(table, defaults.members.as_ref(), of);
        let ((cadence, grace), Nature { kind, verify_url, .. }) = (times?, nature?);
        Some(Wanted {
            cadence,
            grace,
            verify: verify?.or(defaults.verify.clone())?,
            kind,
            verify_url,
            members: members?,
        })
    }

    /// Reads the account of a credential. What is said of an account holds for it as it is written there.
    fn account(&self, field: Field<'_>) -> Option<AccountSid> {
        let account = account_sid(field)?;
        let usual = self.account.as_ref().filter(|usual| account.is_other_writing_of(usual));
        let Some(other) = usual.or(self.homes.other_writing(&account)) else { return Some(account) };
        field
            .clashes("this account is written in other letters elsewhere", format!("\"{other}\", the same everywhere"));
        None
    }

    /// Whether the labels of such a credential's keys are short enough; tells if not.
    pub(super) fn has_room_for(&self, name: &CredentialName, field: Field<'_>) -> bool {
        let Some(instance) = &self.instance else { return true };
        let length = Label::length(instance, name);
        if length > LABEL_LIMIT {
            let message = format!(
                "the label of its keys would have {length} characters, and Twilio takes {LABEL_LIMIT}: it holds this \
                 name, and `daemon.instance`"
            );
            let most = field.value().as_str().map_or(0, str::len).saturating_sub(length - LABEL_LIMIT);
            field.clashes(message, format!("at most {most} characters with the instance `{instance}`"));
        }
        length <= LABEL_LIMIT
    }

    /// When it is rotated, and how long the old key lives on: the second must be over before the first comes again.
    /// No old key is deleted while tokens may live that were signed with it.
    fn times(&self, table: &Table<'_>, tokens: Option<Duration>) -> Option<(Cadence, Duration)> {
        let (floors, defaults) = (self.floors, &self.defaults);
        let own_cadence = cadence(table, floors.interval(), self.calendar);
        let own_grace = table.maybe("grace", |field| Some((field.duration(floors.grace())?, field)));
        let (own_cadence, own_grace) = (own_cadence?, own_grace?);
        let own = own_grace.map(|(_, field)| field).or(own_cadence.as_ref().map(|(_, field)| *field));
        let cadence = own_cadence.map(|(cadence, _)| cadence).or_else(|| defaults.cadence.clone())?;
        let grace = own_grace.map(|(grace, _)| grace).or(defaults.grace)?.max(tokens.unwrap_or_default());
        let interval = cadence.shortest();
        if grace < interval {
            return Some((cadence, grace));
        }
        if let Some(field) = table.field("signs_access_tokens").filter(|_| tokens == Some(grace)) {
            let message = format!(
                "tokens signed with the old key still live when the next rotation comes, {} later",
                Short(interval)
            );
            field.clashes(message, "rotations further apart, or tokens that live shorter");
            return None;
        }
        // What several credentials inherit is told of the defaults, and so only once.
        let field = own.or(defaults.field)?;
        let (grace, interval) = (Short(grace), Short(interval));
        let message = format!("the grace period of {grace} is not over when the next rotation comes, {interval} later");
        field.clashes(message, format!("a grace period shorter than {interval}, or rotations further apart"));
        None
    }
}

/// What a new key must pass; what is left out comes from the defaults.
fn verify(field: Field<'_>, defaults: Option<&Verify>, floors: Floors) -> Option<Verify> {
    let table = field.table(VERIFY)?;
    let successes = table.maybe("successes", |field| field.number(floors.verify_successes()..=100));
    let over = table.maybe("over", |field| field.duration(floors.verify_over()));
    table.finish();
    Some(Verify {
        successes: successes?.or(defaults.map(|verify| verify.successes))?,
        over: over?.or(defaults.map(|verify| verify.over))?,
    })
}
