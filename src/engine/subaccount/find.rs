//! What an unanswered create may have made: it is looked for, and told of where it comes too late.

use super::{Foundation, PAUSE, Stopped, failed};
use crate::decide::subaccount::Thing;
use crate::model::key::{AccountSid, AttemptId, KeySid, PublicKeySid};
use crate::model::subaccount::{Condemned, Made, Mark};
use crate::model::time::later;
use jiff::Timestamp;

impl Foundation<'_> {
    /// Looks for what an unanswered create has made, until it can not turn up any more.
    pub(super) async fn find(&mut self, thing: Thing) -> Result<(), Stopped> {
        let mut failures = 0;
        loop {
            let (attempt, at) = match self.asked(thing) {
                Some(asked) => asked,
                None => return Ok(()),
            };
            // Decided before the look: what turns up between the two would else be missed.
            let settled = self.clock.wall() >= later(at, self.order.settle);
            match self.look(thing, attempt).await {
                Ok(found) if found || settled => {
                    return if found { Ok(()) } else { self.give_up(thing, attempt).await };
                }
                Ok(_) => self.clock.sleep(PAUSE).await,
                Err(stopped @ Stopped::Failed { .. }) => {
                    failures += 1;
                    self.pause(failures, stopped).await?;
                }
                Err(stopped) => return Err(stopped),
            }
        }
    }

    fn asked(&self, thing: Thing) -> Option<(AttemptId, Timestamp)> {
        fn of<S>(made: &Made<S>) -> Option<(AttemptId, Timestamp)> {
            match made {
                Made::Asked { attempt, at } => Some((*attempt, *at)),
                Made::Nothing | Made::There { .. } => None,
            }
        }
        match thing {
            Thing::Account => of(&self.making.account),
            Thing::Key => of(&self.making.key),
            Thing::PublicKey => of(&self.making.public_key),
        }
    }

    /// One look; whether something was found, which is noted then. A key's secret is lost, so it is condemned.
    async fn look(&mut self, thing: Thing, attempt: AttemptId) -> Result<bool, Stopped> {
        let mut making = self.making.clone();
        match thing {
            Thing::Account => {
                let mark = self.mark(&self.order.parent, attempt);
                let what = "the subaccounts could not be looked through";
                let found = self.landlord.called(&mark).await.answer().map_err(failed(what))?;
                if let Some(closed) = found.iter().find(|account| account.closed) {
                    return Err(Stopped::Odd(format!("{} was closed before it was finished", closed.sid)));
                }
                let sids = found.into_iter().map(|account| account.sid);
                let Some(sid) = only(sids, &format!("subaccounts called {mark}"))? else { return Ok(false) };
                (self.tell)(&format!("{sid} was opened after all"));
                making.account = Made::There { attempt, sid };
            }
            Thing::Key => {
                let Some(sid) = only(self.marked_keys(attempt).await?, "API keys with the same mark")? else {
                    return Ok(false);
                };
                (self.tell)(&format!("the API key {sid} was made after all; its secret is lost, so another is made"));
                (making.key, making.condemned) = (Made::Nothing, vec![Condemned::Key(sid)]);
            }
            Thing::PublicKey => {
                let Some(sid) = only(self.marked_public_keys(attempt).await?, "public keys with the same mark")? else {
                    return Ok(false);
                };
                (self.tell)(&format!("the public key {sid} was registered after all; another is made"));
                (making.public_key, making.condemned) = (Made::Nothing, vec![Condemned::PublicKey(sid)]);
            }
        }
        self.note(making).await?;
        Ok(true)
    }

    /// It did not turn up in time: nothing was made, as far as Twilio shows.
    async fn give_up(&mut self, thing: Thing, attempt: AttemptId) -> Result<(), Stopped> {
        let mut making = self.making.clone();
        match thing {
            Thing::Account => {
                making.account = Made::Nothing;
                making.given_up.push(attempt);
            }
            Thing::Key => making.key = Made::Nothing,
            Thing::PublicKey => {
                // A parent may not be shown it.
                let account = self.account()?;
                let mark = self.mark(&account, attempt);
                self.remarks.insert(format!("{account} may have a public key {mark}; nobody has its private half"));
                making.public_key = Made::Nothing;
            }
        }
        self.note(making).await
    }

    /// A create that came late, or twice, has left something with our mark. It is told of and not deleted: a person may
    /// have made it, by duplicating what is ours together with its name (protocol, finding 4).
    pub(super) async fn survey(&mut self, account: &AccountSid) -> Result<(), Stopped> {
        let key = self.ledger.label_key();
        let ours = |name: Option<&String>| {
            name.and_then(|name| Mark::parse(name)).is_some_and(|mark| mark.proven(&key, account))
        };
        let what = format!("what is in {account} could not be listed");
        let keys = self.landlord.keys(account).await.answer().map_err(failed(what.clone()))?;
        let known = self.making.key.sid();
        let keys = keys.iter().filter(|key| Some(&key.sid) != known && ours(key.label.as_ref()));
        let mut left: Vec<String> = keys.map(|key| key.sid.to_string()).collect();
        let public_keys = self.landlord.public_keys(account).await.answer().map_err(failed(what))?;
        let known = self.making.public_key.sid();
        let public_keys = public_keys.iter().filter(|(sid, name)| Some(sid) != known && ours(name.as_ref()));
        left.extend(public_keys.map(|(sid, _)| sid.to_string()));
        let attempts: Vec<_> = self.making.given_up.iter().copied().chain(self.making.account.attempt()).collect();
        for attempt in attempts {
            let found = self.landlord.called(&self.mark(&self.order.parent, attempt)).await;
            let found = found.answer().map_err(failed("the subaccounts could not be looked through"))?;
            left.extend(
                found
                    .into_iter()
                    .filter(|found| !found.closed && found.sid != *account)
                    .map(|found| found.sid.to_string()),
            );
        }
        let remark =
            |sid| format!("{sid} carries our mark and is used by nothing: delete it, or close it if it is an account");
        self.remarks.extend(left.into_iter().map(remark));
        Ok(())
    }

    async fn marked_keys(&self, attempt: AttemptId) -> Result<Vec<KeySid>, Stopped> {
        let account = self.account()?;
        let mark = self.mark(&account, attempt);
        let what = format!("the API keys of {account} could not be listed");
        let keys = self.landlord.keys(&account).await.answer().map_err(failed(what))?;
        Ok(keys.into_iter().filter(|key| key.label.as_ref() == Some(&mark)).map(|key| key.sid).collect())
    }

    async fn marked_public_keys(&self, attempt: AttemptId) -> Result<Vec<PublicKeySid>, Stopped> {
        let account = self.account()?;
        let mark = self.mark(&account, attempt);
        let what = format!("the public keys of {account} could not be listed");
        let keys = self.landlord.public_keys(&account).await.answer().map_err(failed(what))?;
        Ok(keys.into_iter().filter(|(_, name)| name.as_ref() == Some(&mark)).map(|(sid, _)| sid).collect())
    }
}

/// The only one of them; several are for a human to sort out.
fn only<S: std::fmt::Display>(found: impl IntoIterator<Item = S>, what: &str) -> Result<Option<S>, Stopped> {
    let mut found: Vec<S> = found.into_iter().collect();
    if found.len() > 1 {
        let sids: Vec<String> = found.iter().map(S::to_string).collect();
        let message = format!("there are {} {what}, where one was asked for: {}", found.len(), sids.join(", "));
        return Err(Stopped::Odd(message));
    }
    Ok(found.pop())
}
