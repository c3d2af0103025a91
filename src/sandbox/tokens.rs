//! Auth tokens of an account: a secondary one is made, used beside the primary one, and promoted or deleted (Twilio docs,
//! "Secondary Auth Token" and "Auth Token Promotion"; `accounts.twilio.com`, version 1).

use super::call::{Answer, Refusal, TokenView};
use super::world::World;
use crate::model::key::AccountSid;
use crate::model::secret::Secret;
use jiff::Timestamp;

/// A token that an account has beside its primary one.
pub struct Secondary {
    /// The token.
    pub token: Secret,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
}

/// Who ends keys when a token's promotion does.
const TWILIO: &str = "twilio";

impl World {
    /// It works at once, beside the primary one (recorded from the real service).
    pub(super) fn create_secondary_token(
        &mut self,
        now: Timestamp,
        account: &AccountSid,
        quiet: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let quiet = self.asked_quietly(quiet)?;
        let (created, token) = (self.twilio_time(now), self.chance.account_token());
        let found = self.accounts.get_mut(account).ok_or(Refusal::NotFound)?;
        if found.secondary.is_some() {
            return Err(Refusal::SecondaryExists);
        }
        let view = TokenView { account: account.clone(), token: token.duplicate(), created, updated: created };
        found.secondary = Some(Secondary { token, created });
        found.mails += u64::from(!quiet);
        Ok(Answer::SecondaryTokenMade(view))
    }

    pub(super) fn delete_secondary_token(
        &mut self,
        account: &AccountSid,
        quiet: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let quiet = self.asked_quietly(quiet)?;
        let found = self.accounts.get_mut(account).ok_or(Refusal::NotFound)?;
        found.secondary.take().ok_or(Refusal::NotFound)?;
        found.mails += u64::from(!quiet);
        Ok(Answer::SecondaryTokenDeleted)
    }

    /// The old primary token is dead at once (Twilio's OpenAPI document).
    pub(super) fn promote_token(
        &mut self,
        now: Timestamp,
        account: &AccountSid,
        quiet: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let quiet = self.asked_quietly(quiet)?;
        let updated = self.twilio_time(now);
        let found = self.accounts.get_mut(account).ok_or(Refusal::NotFound)?;
        let Secondary { token, created } = found.secondary.take().ok_or(Refusal::NotFound)?;
        found.mails += u64::from(!quiet);
        let view = TokenView { account: account.clone(), token: token.duplicate(), created, updated };
        found.token = token;
        if self.faults.promotion_ends_keys {
            let keys = self.keys.values().filter(|key| key.account == *account);
            let keys: Vec<_> = keys.map(|key| key.sid.clone()).collect();
            keys.iter().for_each(|sid| _ = self.bury(now, sid, TWILIO));
        }
        Ok(Answer::TokenPromoted(view))
    }

    /// Whether an account has a token beside its primary one.
    pub fn has_secondary_token(&self, account: &AccountSid) -> bool {
        self.accounts.get(account).is_some_and(|found| found.secondary.is_some())
    }

    /// `SuppressEmailNotification`: without it Twilio writes to every owner and administrator of the account (Twilio's Python
    /// library, 9.11.0). That something other than `true` and `false` is refused is assumed.
    fn asked_quietly(&self, quiet: Option<&str>) -> Result<bool, Refusal> {
        if self.faults.auth_token_api_off {
            return Err(Refusal::NotFound);
        }
        match quiet {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::Constraint),
        }
    }
}
