//! Auth tokens in the engine: the steps that for keys name a SID, done with the tokens that the places serve.

use super::Engine;
use super::account::Account;
use super::advance::{Work, failed};
use crate::model::event::Event;
use crate::model::fault::{Failure, Fault};
use crate::model::key::{KeyFacts, KeySid};
use crate::model::names::Place;
use crate::model::policy::{KeyKind, Rules};
use crate::model::reason::StepName;
use crate::model::rotation::State;
use crate::model::secret::Secret;
use crate::ports::TokenPlace;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Whether Twilio is to keep quiet about changes.
pub(super) fn quiet(rules: &Rules) -> bool {
    matches!(rules.kind, KeyKind::AuthToken { quiet: true })
}

/// The token of this name, as a place was last read to serve it.
pub(super) fn served<'w>(work: &'w Work, sid: Option<&KeySid>) -> Option<&'w Secret> {
    let shows = |place| work.sight.places.get(place).is_some_and(|(seen, _)| seen.content.sid() == sid);
    work.held.read.iter().find(|(place, (_, secret))| shows(*place) && secret.is_some())?.1.1.as_ref()
}

/// What can sign in as the account: the token that consumers have, or what else a place serves in its stead.
pub(super) fn owner(work: &Work) -> Option<&Secret> {
    let others =
        work.sight.places.values().filter_map(|(seen, _)| seen.content.sid()).filter(|sid| sid.is_auth_token());
    in_use(&work.claim.state).into_iter().chain(others).find_map(|sid| served(work, Some(sid)))
}

/// The token that consumers have.
pub(super) fn in_use(state: &State) -> Option<&KeySid> {
    state.current.as_ref().map(|current| &current.sid)
}

impl Engine {
    /// Whether a token lives. Nobody can ask for one by its name, but those that are served tell.
    pub(super) async fn fetch_token(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        sid: KeySid,
    ) -> Result<(), Failure> {
        let known = KeyFacts { sid: sid.clone(), label: None, created_at: Timestamp::UNIX_EPOCH };
        let lives = if is_stray(&work.claim.state, &sid) {
            // It may be there until its deletion is answered.
            self.may_be_discarded(rules, account, work).await?;
            true
        } else {
            self.lives(rules, account, work, &sid).await?
        };
        work.sight.keys.insert(sid, (lives.then_some(known), self.local()));
        Ok(())
    }

    /// As long as the token that is served is the secondary one, the one that it replaces is the primary.
    async fn lives(&self, rules: &Rules, account: &Account, work: &mut Work, sid: &KeySid) -> Result<bool, Failure> {
        let user = in_use(&work.claim.state).cloned();
        if served(work, user.as_ref()).is_none() {
            self.look_everywhere(rules, work).await?;
        }
        // What it is about is asked itself, where it is served; mostly that is the one in use.
        let of_itself = served(work, Some(sid));
        let Some(token) = of_itself.or_else(|| served(work, user.as_ref())) else {
            // Nothing can be known of tokens; but Twilio tells its date.
            let standing = self.twilio(account, "standing", self.ports.issuer.standing(&account.home)).await;
            return if self.ports.issuer.date().is_none() { standing.answer().map(|_| true) } else { Ok(true) };
        };
        match (self.place_of(account, token).await?, of_itself.is_some()) {
            (TokenPlace::Neither, true) => Ok(false),
            (TokenPlace::Primary | TokenPlace::Secondary | TokenPlace::Untold, true) => Ok(true),
            // One that is not accepted is found out by the trial of what the places serve.
            (TokenPlace::Secondary | TokenPlace::Neither, false) => Ok(true),
            (TokenPlace::Primary, false) => Ok(false),
            (TokenPlace::Untold, false) => Err(untold()),
        }
    }

    /// What is deleted for a token that was given up is the secondary one, and no place must serve that, whatever it calls it.
    async fn may_be_discarded(&self, rules: &Rules, account: &Account, work: &mut Work) -> Result<(), Failure> {
        self.look_everywhere(rules, work).await?;
        // A place that serves what was given up has it after all: that is found out by the fence.
        let given_up = |sid: &KeySid| is_stray(&work.claim.state, sid);
        let mut asked: Vec<&Secret> = Vec::new();
        for (place, (_, secret)) in &work.held.read {
            let seen = work.sight.places.get(place).and_then(|(seen, _)| seen.content.sid());
            let Some(secret) =
                secret.as_ref().filter(|_| seen.is_some_and(|sid| sid.is_auth_token() && !given_up(sid)))
            else {
                continue;
            };
            if asked.iter().any(|other| other.expose() == secret.expose()) {
                continue;
            }
            match self.place_of(account, secret).await? {
                TokenPlace::Primary | TokenPlace::Neither => asked.push(secret),
                TokenPlace::Untold => return Err(untold()),
                TokenPlace::Secondary => {
                    let detail = format!("{place} serves the secondary token, so that is not deleted");
                    return Err(Failure::new(Fault::Refused, &detail));
                }
            }
        }
        Ok(())
    }

    async fn look_everywhere(&self, rules: &Rules, work: &mut Work) -> Result<(), Failure> {
        let places: BTreeSet<_> = work.claim.state.places().chain(&rules.places).cloned().collect();
        let here = places.into_iter().filter(|place| self.sinks.contains(&place.sink));
        self.look(rules, work, here.collect()).await
    }

    /// The token that a new one will replace, as the place serves it: who checks webhooks needs both until then.
    pub(super) async fn previous_token(
        &self,
        rules: &Rules,
        work: &mut Work,
        place: &Place,
    ) -> Result<Option<Secret>, Failure> {
        let state = &work.claim.state;
        let replaced = in_use(state).filter(|sid| {
            let rotation = state.rotation.as_ref().filter(|rotation| rotation.auth_token);
            rotation.is_some_and(|rotation| rotation.successor.as_ref() != Some(sid))
        });
        let Some(replaced) = replaced.cloned() else { return Ok(None) };
        if served(work, Some(&replaced)).is_none() {
            self.look(rules, work, vec![place.clone()]).await?;
        }
        Ok(served(work, Some(&replaced)).map(Secret::duplicate))
    }

    async fn place_of(&self, account: &Account, token: &Secret) -> Result<TokenPlace, Failure> {
        let place = self.ports.issuer.token_place(&account.home, token);
        self.twilio(account, "token_place", place).await.answer()
    }

    /// A trial of a token that was just made, so it has to be the secondary one. If Twilio says otherwise, its word is no
    /// ground for a promotion either, and the token is not published.
    pub(super) async fn token_works(&self, account: &Account, token: &Secret) -> Result<bool, Failure> {
        match self.place_of(account, token).await? {
            TokenPlace::Secondary => Ok(true),
            TokenPlace::Neither => Ok(false),
            TokenPlace::Primary | TokenPlace::Untold => Err(untold()),
        }
    }

    /// Ends a token, and keeps in sight what the answer tells: nobody can be asked for one that is served nowhere, and another
    /// product of Twilio's may hear of a promotion later.
    pub(super) async fn settle_token(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        sid: &KeySid,
    ) -> Option<Event> {
        let ended = self.end_token(rules, account, work, sid).await;
        work.changed();
        if ended.is_ok() {
            work.sight.keys.insert(sid.clone(), (None, self.local()));
        }
        ended.err().map(|failure| failed(StepName::Delete, failure))
    }

    /// Ends a token: an old one by promoting the one that is served, one that was given up by deleting the secondary.
    async fn end_token(&self, rules: &Rules, account: &Account, work: &mut Work, sid: &KeySid) -> Result<(), Failure> {
        if is_stray(&work.claim.state, sid) {
            let discard = self.ports.issuer.discard(&account.home, owner(work), quiet(rules));
            return self.twilio_in_turn(account, "discard", discard).await.answer();
        }
        let Some(token) = served(work, in_use(&work.claim.state)) else {
            return Err(Failure::new(Fault::Local, "no place was read to serve a token"));
        };
        let promote = self.ports.issuer.promote(&account.home, token, quiet(rules));
        self.twilio_in_turn(account, "promote", promote).await.answer()
    }
}

fn is_stray(state: &State, sid: &KeySid) -> bool {
    state.strays.iter().any(|stray| &stray.sid == sid)
}

fn untold() -> Failure {
    let what =
        "Twilio does not tell the account's secondary auth token from the primary one: none can be promoted safely";
    Failure::new(Fault::Refused, what)
}
