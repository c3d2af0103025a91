//! Auth tokens: a secondary one is made, promoted or deleted (Twilio docs, "Secondary Auth Token" and "Auth Token
//! Promotion").
//!
//! The resources have no account in their path, and name no token: they are about the account that calls them. So they are
//! called with the account's own token, as a place serves it, and only where there is none with a Main key of the very
//! account; whether that is allowed is told nowhere.

use super::TwilioClient;
use super::answer::Answer;
use super::pair::{Pair, usable};
use super::public_keys::{PRODUCT, date};
use super::reach::Reach;
use crate::adapters::http::Miss;
use crate::model::fault::{Failure, Fault};
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeyFacts, KeySid, Label};
use crate::model::secret::Secret;
use crate::ports::{NewKey, TokenPlace};
use jiff::Timestamp;
use reqwest::RequestBuilder;
use serde::Deserialize;
use url::Url;

const SECONDARY: [&str; 3] = ["v1", "AuthTokens", "Secondary"];
const PROMOTE: [&str; 3] = ["v1", "AuthTokens", "Promote"];
/// Twilio asks its users to be told of each change, unless it is asked not to (Twilio's Python library, 9.11.0).
const QUIET: [(&str, &str); 1] = [("SuppressEmailNotification", "true")];
/// "Secondary Auth Token already exists" and other things that are wrong with a request (observed, error 70002).
const EXISTS: u32 = 70_002;

/// A new token, shown once. It is borrowed from the body, which is wiped.
#[derive(Deserialize)]
struct Made<'a> {
    account_sid: AccountSid,
    #[serde(deserialize_with = "date")]
    date_created: Timestamp,
    secondary_auth_token: &'a str,
}

#[derive(Deserialize)]
struct Promoted<'a> {
    account_sid: AccountSid,
    auth_token: &'a str,
}

/// An account. Its token is shown to whoever signs in with one, and is empty for keys (reported, 2021).
#[derive(Deserialize)]
struct Account<'a> {
    sid: AccountSid,
    auth_token: Option<&'a str>,
}

impl TwilioClient {
    /// Asks for a secondary token: with one POST, and with another only after the first was refused for who signed it.
    pub(super) async fn create_token(
        &self,
        home: &Home,
        label: &Label,
        served: Option<&Secret>,
        quiet: bool,
    ) -> Result<NewKey, Miss> {
        let (reach, account) = (self.reach_of_token(home)?, &home.account);
        let answer = self.as_owner(account, reach, served, |reach| post(reach, &SECONDARY, quiet)).await?;
        match (answer.status, answer.complaint().map(|complaint| complaint.code)) {
            (400, Some(EXISTS)) => {
                return Err(refused(
                    "70002: the account has a secondary token already. See in the Console whose it is: if the places serve it, promote it; delete it only if nobody uses it",
                ));
            }
            _ if answer.says_gone() => return Err(refused("20404: the account has no API for auth tokens")),
            _ => {}
        }
        let made: Made<'_> = answer.parse(&[201, 200], "a new auth token")?;
        if made.account_sid != *account {
            let other =
                format!("a token was made in {}, which what signs in belongs to: delete it there", made.account_sid);
            return Err(refused(&other));
        }
        if !usable(&made.secondary_auth_token) {
            return Err(answer.malformed("it is no usable token"));
        }
        let facts = KeyFacts {
            sid: KeySid::of_token(label.attempt),
            label: Some(label.to_string()),
            created_at: made.date_created,
        };
        Ok(NewKey { facts, secret: Secret::new(made.secondary_auth_token.to_owned()) })
    }

    /// Asks an account what its primary token is, with a token of it.
    pub(super) async fn place_of_token(&self, home: &Home, token: &Secret) -> Result<TokenPlace, Miss> {
        let (reach, account) = (self.reach(home)?, &home.account);
        let url = reach.account(account);
        let answer = self.call(reach, reach.fresh.get(url), token_of(account, token)).await?;
        if answer.status == 401 && answer.complaint().is_some() {
            return Ok(TokenPlace::Neither);
        }
        let shown: Account<'_> = answer.parse(&[200], "an account")?;
        match shown.auth_token {
            _ if shown.sid != *account => Err(answer.malformed("it shows another account")),
            None | Some("") => Ok(TokenPlace::Untold),
            Some(primary) if primary == token.expose() => Ok(TokenPlace::Primary),
            Some(_) => Ok(TokenPlace::Secondary),
        }
    }

    /// Promotes the token that signs in. That there is no secondary one means that this is the primary one.
    pub(super) async fn promote_token(&self, home: &Home, token: &Secret, quiet: bool) -> Result<(), Miss> {
        let (reach, account) = (self.reach_of_token(home)?, &home.account);
        let answer = self.call(reach, post(reach, &PROMOTE, quiet), token_of(account, token)).await?;
        if answer.says_gone() {
            return match self.place_of_token(home, token).await? {
                TokenPlace::Primary => Ok(()),
                TokenPlace::Secondary | TokenPlace::Neither | TokenPlace::Untold => Err(refused(
                    "20404: there is no token to promote, and the one that is served is not the primary one",
                )),
            };
        }
        let promoted: Promoted<'_> = answer.parse(&[200], "a promoted auth token")?;
        let expected = promoted.account_sid == *account && promoted.auth_token == token.expose();
        if expected { Ok(()) } else { Err(answer.malformed("another token than the one that signs in was promoted")) }
    }

    /// Deletes the secondary token.
    pub(super) async fn discard_token(&self, home: &Home, served: Option<&Secret>, quiet: bool) -> Result<(), Miss> {
        let (reach, account) = (self.reach_of_token(home)?, &home.account);
        let delete = |reach: &Reach| {
            let mut url = address(reach, &SECONDARY);
            if quiet {
                url.query_pairs_mut().extend_pairs(QUIET);
            }
            reach.fresh.delete(url)
        };
        let answer = self.as_owner(account, reach, served, delete).await?;
        if answer.succeeded() || answer.says_gone() { Ok(()) } else { Err(answer.miss()) }
    }

    /// Sends a request as the account itself: with its token, or, if that is refused or there is none, with a Main key.
    async fn as_owner<'a>(
        &'a self,
        account: &'a AccountSid,
        reach: &'a Reach,
        served: Option<&'a Secret>,
        request: impl Fn(&Reach) -> RequestBuilder,
    ) -> Result<Answer<'a>, Miss> {
        if let Some(token) = served {
            let answer = self.call(reach, request(reach), token_of(account, token)).await?;
            if answer.status != 401 || answer.complaint().is_none() {
                return Ok(answer);
            }
        }
        if !reach.is_own_key_of(account) {
            return Err(forbidden(
                "no place serves a token that works, and there is no Main key of the account itself",
            ));
        }
        let answer = self.call(reach, request(reach), reach.admin()).await?;
        match answer.status {
            401 if answer.complaint().is_some() => Err(forbidden(
                "no place serves a token that works, and Twilio lets no Main key change auth tokens here",
            )),
            _ => Ok(answer),
        }
    }

    /// The way to the account, unless what rekeyd signs in with would end with its token (protocol, S11).
    fn reach_of_token(&self, home: &Home) -> Result<&Reach, Miss> {
        if self.reaches.all().any(|reach| reach.is_token_of(&home.account)) {
            return Err(refused("rekeyd itself signs in with an auth token of this account"));
        }
        self.reach(home)
    }
}

/// Twilio has no names for tokens, so none can be asked for or deleted by one.
pub(super) fn nameless() -> Miss {
    refused("auth tokens have no names at Twilio")
}

fn refused(why: &str) -> Miss {
    Miss::NotDone(Failure::new(Fault::Refused, why))
}

fn forbidden(why: &str) -> Miss {
    Miss::NotDone(Failure::new(Fault::Forbidden, why))
}

/// An account's token, as a consumer has it.
pub(super) fn token_of<'a>(account: &'a AccountSid, token: &'a Secret) -> Pair<'a> {
    Pair { user: account.as_str(), secret: token, account, signer: None }
}

fn address(reach: &Reach, path: &[&str]) -> Url {
    reach.product(PRODUCT, path)
}

fn post(reach: &Reach, path: &[&str], quiet: bool) -> RequestBuilder {
    let request = reach.fresh.post(address(reach, path));
    if quiet { request.form(&QUIET) } else { request.form::<[(&str, &str); 0]>(&[]) }
}
