//! Auth tokens in the fake world: two at most, of which calls name none. Each has the name that the daemon gives it, so that
//! the invariants are checked on it as on a key.

use super::Truth;
use super::daemon::home;
use super::doors::FakeIssuer;
use async_trait::async_trait;
use rekeyd::model::document::Members;
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::home::Home;
use rekeyd::model::key::{KeyFacts, KeySid, Label};
use rekeyd::model::names::Place;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{TokenPlace, Tokens};
use serde_json::{Map, Value};

/// The tokens of the account.
#[derive(Clone)]
pub struct TokenPair {
    pub primary: KeySid,
    pub secondary: Option<KeySid>,
    /// Whether a Main key may change them.
    pub main_key_may: bool,
    /// What an account shows of its tokens.
    pub shows: Shows,
}

/// What the account resource shows to whoever signs in with a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Primary,
    Caller,
    Nothing,
}

fn unauthorized<T>() -> Outcome<T> {
    Outcome::NotDone(Failure::new(Fault::Unauthorized, "20003: Authenticate"))
}

impl Truth {
    /// The account has an auth token, and its places serve it if they are named.
    pub fn with_token(&mut self, places: &[Place], main_key_may: bool) -> KeySid {
        let primary = KeySid::first_token(&home().account);
        self.make_named(primary.clone(), home(), None, true);
        self.keys.get_mut(&primary).unwrap().served = !places.is_empty();
        self.human_writes_token(places, &primary);
        self.tokens =
            Some(TokenPair { primary: primary.clone(), secondary: None, main_key_may, shows: Shows::Primary });
        primary
    }

    /// A person puts a token where consumers read it.
    pub fn human_writes_token(&mut self, places: &[Place], sid: &KeySid) {
        let (members, secret) = (Members::of_tokens(), self.keys[sid].secret.clone());
        let value = [(members.account_sid, home().account.to_string()), (members.api_key_secret, secret)];
        let value: Map<_, _> = value.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
        for place in places {
            self.human_writes(place, Some(value.clone()));
        }
    }

    /// A person changes the token at a place, and nothing else there.
    pub fn human_edits_token(&mut self, place: &Place, sid: &KeySid) {
        let secret = self.keys[sid].secret.clone();
        let mut value = self.places[place].value.clone().unwrap();
        value.insert(Members::of_tokens().api_key_secret, Value::String(secret));
        self.human_writes(place, Some(value));
    }

    /// A person deletes the secondary token in the Console.
    pub fn human_discards(&mut self) {
        let secondary = self.tokens.as_mut().and_then(|tokens| tokens.secondary.take());
        secondary.inspect(|sid| self.human_deletes(sid));
    }

    /// A person promotes the secondary token in the Console.
    pub fn human_promotes(&mut self) {
        let tokens = self.tokens.clone().unwrap();
        if let Some(secondary) = tokens.secondary {
            self.human_deletes(&tokens.primary);
            self.tokens = Some(TokenPair { primary: secondary, secondary: None, ..tokens });
        }
    }

    /// A person makes a secondary token in the Console.
    pub fn human_makes_token(&mut self) -> KeySid {
        let sid = KeySid::new(&format!("AT{}", "e".repeat(32))).unwrap();
        self.make_named(sid.clone(), home(), None, false);
        self.tokens.as_mut().unwrap().secondary = Some(sid.clone());
        sid
    }

    /// The token that this is, if it is one that works now.
    fn token_of(&mut self, secret: &str) -> Option<KeySid> {
        let tokens = self.tokens.clone()?;
        let sids: Vec<_> = [Some(tokens.primary), tokens.secondary].into_iter().flatten().collect();
        sids.into_iter().find(|sid| self.accepts(sid, secret))
    }

    fn is_owner(&mut self, served: Option<&str>) -> bool {
        let by_token = served.is_some_and(|secret| self.token_of(secret).is_some());
        by_token || self.tokens.as_ref().is_some_and(|tokens| tokens.main_key_may)
    }

    pub(super) fn create_token(&mut self, label: &Label, served: Option<&str>) -> Outcome<(KeyFacts, String)> {
        if !self.is_owner(served) {
            return Outcome::NotDone(Failure::new(Fault::Forbidden, "20003: Authenticate"));
        }
        if self.tokens.as_ref().is_none_or(|tokens| tokens.secondary.is_some()) {
            return Outcome::NotDone(Failure::new(Fault::Refused, "70002: there is one already"));
        }
        let sid = KeySid::of_token(label.attempt);
        let made = self.created(label, None, |truth| {
            truth.make_named(sid.clone(), home(), Some(label.to_string()), true);
            sid.clone()
        });
        self.tokens.as_mut().unwrap().secondary = Some(sid);
        Outcome::Done(made)
    }

    fn place_of_token(&mut self, secret: &str) -> TokenPlace {
        let Some(sid) = self.token_of(secret) else { return TokenPlace::Neither };
        let tokens = self.tokens.as_ref().unwrap();
        match tokens.shows {
            Shows::Nothing => TokenPlace::Untold,
            Shows::Primary if tokens.primary != sid => TokenPlace::Secondary,
            Shows::Primary | Shows::Caller => TokenPlace::Primary,
        }
    }

    /// Whoever signs in: it is the secondary one that is promoted.
    fn promote(&mut self, secret: &str) -> Outcome<()> {
        if self.token_of(secret).is_none() {
            return unauthorized();
        }
        let tokens = self.tokens.clone().unwrap();
        if let Some(secondary) = tokens.secondary {
            self.delete(&tokens.primary);
            self.tokens = Some(TokenPair { primary: secondary, secondary: None, ..tokens });
        }
        Outcome::Done(())
    }

    fn discard(&mut self, served: Option<&str>) -> Outcome<()> {
        if !self.is_owner(served) {
            return unauthorized();
        }
        if let Some(secondary) = self.tokens.as_mut().unwrap().secondary.take() {
            self.delete(&secondary);
        }
        Outcome::Done(())
    }
}

#[async_trait]
impl Tokens for FakeIssuer {
    async fn token_place(&self, _home: &Home, token: &Secret) -> Outcome<TokenPlace> {
        let secret = token.expose().to_owned();
        self.call("token_place", move |truth| Outcome::Done(truth.place_of_token(&secret))).await
    }

    async fn promote(&self, _home: &Home, token: &Secret, _quiet: bool) -> Outcome<()> {
        let secret = token.expose().to_owned();
        self.world.truth(|truth| {
            let primary = truth.tokens.as_ref().map(|tokens| tokens.primary.clone());
            primary.inspect(|sid| truth.about_to_delete(sid));
        });
        self.call("promote", move |truth| truth.promote(&secret)).await
    }

    async fn discard(&self, _home: &Home, served: Option<&Secret>, _quiet: bool) -> Outcome<()> {
        let served = served.map(|secret| secret.expose().to_owned());
        self.world.truth(|truth| {
            let secondary = truth.tokens.as_ref().and_then(|tokens| tokens.secondary.clone());
            secondary.inspect(|sid| truth.about_to_delete(sid));
        });
        self.call("discard", move |truth| truth.discard(served.as_deref())).await
    }
}
