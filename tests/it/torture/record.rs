//! What must hold, read from the records of those who were there: the sandbox's of every call and key, the consumers' of
//! what the sink served, the journal's of what was decided. The letters are those of `docs/protocol.md`, a.5.

use super::consumer::Read;
use super::ground::{Ground, Keys, Seat, Terms};
use crate::waves::{Order, in_order};
use jiff::{SignedDuration, Timestamp};
use rekeyd::model::event::Event;
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::names::CredentialName;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Denial, Entry, Fault, World};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The life of a key or public key, as the sandbox saw it.
struct Life {
    sid: KeySid,
    account: AccountSid,
    made: Timestamp,
    by: String,
    /// When it was deleted, and by whom.
    ended: Option<(Timestamp, String)>,
}

impl Life {
    fn alive(&self, at: Timestamp) -> bool {
        self.made <= at && self.ended.as_ref().is_none_or(|(ended, _)| *ended > at)
    }
}

/// Who makes and deletes keys by hand.
const CONSOLE: &str = "console";

/// Every life in a world. Of public keys the calls tell; what no call has made was made by hand.
fn lives(world: &World) -> Vec<Life> {
    let of_key = |key: &rekeyd::sandbox::Key| Life {
        sid: key.sid.clone(),
        account: key.account.clone(),
        made: key.made_at,
        by: key.made_by.clone(),
        ended: key.deleted.as_ref().map(|deleted| (deleted.at, deleted.by.clone())),
    };
    let by_hand = |key: &rekeyd::sandbox::PublicKey| {
        let (account, made) = (key.account.clone(), key.created);
        (
            KeySid::from(&key.sid),
            Life { sid: KeySid::from(&key.sid), account, made, by: CONSOLE.to_owned(), ended: None },
        )
    };
    let mut public: BTreeMap<KeySid, Life> = world.public_keys().map(by_hand).collect();
    for call in world.audit().entries().filter(|call| call.status < 300) {
        let Some(life) = call.key.as_ref().and_then(|sid| public.get_mut(sid)) else { continue };
        let by = call.user.clone().unwrap_or_default();
        if call.operation == Operation::CreatePublicKey {
            (life.made, life.by) = (call.at, by);
        } else if call.operation == Operation::DeletePublicKey {
            life.ended.get_or_insert((call.at, by));
        }
    }
    world.keys().map(of_key).chain(public.into_values()).collect()
}

/// Whether this call shows that Twilio knows the pair. That a key may not do this shows it too (error 70051).
fn proves(call: &Entry, sid: &KeySid) -> bool {
    let signed = call.signer.as_ref().is_some_and(|signer| signer.as_str() == sid.as_str());
    let by = if sid.is_public_key() { signed } else { call.user.as_deref() == Some(sid.as_str()) };
    by && call.operation == Operation::ListNumbers && (call.status == 200 || call.denied == Some(Denial::NotPermitted))
}

impl Ground {
    /// Checks everything that the records tell; what is wrong, in words.
    pub async fn faults(&self, terms: &Terms) -> Vec<String> {
        let mut faults = self.of_consumers();
        faults.extend(self.of_calls(terms));
        faults.extend(self.of_decisions(terms).await);
        let verified = self.run(&["journal", "verify"]);
        if !verified.status.success() {
            faults.push(format!("rekeyd journal verify: {verified:?}"));
        }
        faults
    }

    /// What the consumers were refused.
    fn of_consumers(&self) -> Vec<String> {
        self.seats.iter().flat_map(|seat| seat.watch.refusals()).map(|refusal| format!("S1: {refusal}")).collect()
    }

    fn reads(&self) -> Vec<Read> {
        self.seats.iter().flat_map(|seat| seat.watch.reads()).collect()
    }

    /// What the sandbox saw, beside what the consumers saw.
    fn of_calls(&self, terms: &Terms) -> Vec<String> {
        let mut faults = Vec::new();
        let (main, reads) = (self.sandbox.main_key().0, self.reads());
        let world = self.sandbox.world().lock();
        assert_eq!(world.audit().forgotten(), 0, "the sandbox forgot what it saw");
        let dead =
            |call: &&Entry| call.denied.is_some_and(|denial| denial.dead_pair() || denial == Denial::BadSignature);
        for call in world.audit().entries().filter(dead) {
            faults.push(format!("S1: somebody called with a pair that does not work: {call:?}"));
        }
        let lives = lives(&world);
        let grace = SignedDuration::try_from(terms.grace).unwrap();
        for Life { sid, by, ended, .. } in &lives {
            let Some((ended, ended_by)) = ended else { continue };
            if ended_by != main.as_str() || by != main.as_str() {
                faults.push(format!("S2: {sid} of {by} was deleted by {ended_by}"));
            }
            let served = reads.iter().rfind(|read| read.sid == *sid);
            if served.is_some_and(|read| ended.duration_since(read.from) < grace) {
                faults.push(format!("S3: {sid} was deleted at {ended}, still served at {served:?}"));
            }
        }
        let seen: BTreeSet<&KeySid> = reads.iter().map(|read| &read.sid).collect();
        for sid in seen {
            let first = reads.iter().find(|read| read.sid == *sid).unwrap().to;
            // The consumer's calls with a token that does not work are found above; which token one was made with nobody notes.
            if !sid.is_auth_token() && !world.audit().entries().any(|call| proves(call, sid) && call.at <= first) {
                faults.push(format!("S4: {sid} was served and had never been tried"));
            }
        }
        for promotion in world.audit().entries().filter(|call| call.operation == Operation::PromoteToken) {
            // What was read when it was promoted is the new one; whatever was read before it was the old one.
            let earlier: Vec<_> = reads.iter().filter(|read| read.to < promotion.at).collect();
            let new = earlier.last().map(|read| &read.sid);
            let old = earlier.iter().rfind(|read| Some(&read.sid) != new);
            if promotion.status == 200 && old.is_some_and(|read| promotion.at.duration_since(read.from) < grace) {
                faults
                    .push(format!("S3: a token was promoted at {}, the old one still served at {old:?}", promotion.at));
            }
        }
        let ours: Vec<_> = lives.iter().filter(|life| life.by == main.as_str()).collect();
        for Life { sid, account, made, .. } in &ours {
            if ours.iter().filter(|other| other.account == *account && other.alive(*made)).count() > 3 {
                faults.push(format!("S5: more than three keys lived when {sid} was made"));
            }
        }
        faults
    }

    /// What was decided before it was done (S13): a create for each intent at most, a delete for each key condemned. And a
    /// fleet in its order.
    async fn of_decisions(&self, terms: &Terms) -> Vec<String> {
        let history = self.history().await;
        let mut faults = Vec::new();
        let world = self.sandbox.world().lock();
        for Seat { name, account, .. } in &self.seats {
            let of_it = |entry: &&(CredentialName, _)| entry.0 == *name;
            let intents =
                history.iter().filter(of_it).filter(|(_, entry)| matches!(entry.event, Event::Intended(_))).count();
            let creates = creates(&world, account);
            if creates > intents {
                faults.push(format!("S13: {creates} creates of {name} after {intents} intents"));
            }
        }
        let of_tokens = [Operation::PromoteToken, Operation::DeleteSecondaryToken];
        let deletes =
            [Operation::DeleteKey, Operation::DeletePublicKey].into_iter().chain(of_tokens).collect::<Vec<_>>();
        for call in world.audit().entries().filter(|call| deletes.contains(&call.operation) && call.status < 300) {
            let decided = history.iter().any(|(_, entry)| {
                // A call about tokens names none.
                let named = |sid: &KeySid| match of_tokens.contains(&call.operation) {
                    true => sid.is_auth_token(),
                    false => Some(sid) == call.key.as_ref(),
                };
                matches!(&entry.event, Event::Condemned { sid, .. } if named(sid))
                    && (terms.lying || entry.at.wall <= call.at)
            });
            if !decided {
                faults.push(format!("S13: a delete that nobody had decided: {call:?}"));
            }
        }
        if self.seats.len() > 1 {
            let order = Order { first: self.seats[0].name.as_str(), hold: Duration::from_secs(1), batch: 2 };
            faults.extend(in_order(&history, &order).err());
        }
        faults
    }

    /// The key that a place of a fleet serves is of the kind that is wanted now.
    pub async fn all_are(&self, keys: Keys) -> bool {
        for seat in &self.seats {
            let served = self.served_at(seat).await;
            let world = self.sandbox.world().lock();
            let kind = served.and_then(|sid| world.key(&sid)).map(|key| key.kind);
            let wanted = match keys {
                Keys::Standard => rekeyd::sandbox::KeyKind::Standard,
                Keys::Restricted => rekeyd::sandbox::KeyKind::Restricted,
                Keys::Pair | Keys::Token => return false,
            };
            if kind != Some(wanted) {
                return false;
            }
        }
        true
    }

    /// The same without the journal, where that is an old one.
    pub fn expect_calls_sound(&self, terms: &Terms, what: &str) {
        let mut faults = self.of_consumers();
        faults.extend(self.of_calls(terms));
        assert!(faults.is_empty(), "{what}: {faults:#?}");
        self.expect_reads(what);
    }

    pub async fn expect_sound(&self, terms: &Terms, what: &str) {
        let faults = self.faults(terms).await;
        assert!(faults.is_empty(), "{what}: {faults:#?}");
        self.expect_reads(what);
    }

    fn expect_reads(&self, what: &str) {
        let idle = self.seats.iter().find(|seat| seat.watch.reads().is_empty());
        assert!(idle.is_none(), "{what}: a consumer never read anything");
    }
}

/// How many keys and public keys were made in an account by calls. What the network delivered twice is written down twice,
/// and was sent once.
fn creates(world: &World, account: &AccountSid) -> usize {
    let create = [Operation::CreateKey, Operation::CreatePublicKey, Operation::CreateSecondaryToken];
    let creates = world.audit().entries().filter(|call| {
        create.contains(&call.operation) && call.status == 201 && call.account.as_ref() == Some(account)
    });
    let (twice, once): (Vec<_>, Vec<_>) = creates.partition(|call| call.fault == Some(Fault::Twice));
    once.len() + twice.len() / 2
}
