//! Accounts: a parent and its subaccounts, and the ordinary resources in them that a key can be proven with.

use super::access::Caller;
use super::call::{AccountView, Answer, Refusal, Status};
use super::keys::fits;
use super::page::Paging;
use super::tokens::Secondary;
use super::world::World;
use crate::model::key::AccountSid;
use crate::model::secret::Secret;
use jiff::Timestamp;
use std::cmp::Reverse;

/// An account.
pub struct Account {
    /// Its SID.
    pub sid: AccountSid,
    /// The account it belongs to, if it is a subaccount.
    pub parent: Option<AccountSid>,
    /// Its friendly name.
    pub name: String,
    /// Whether it may be used.
    pub status: Status,
    /// Its token.
    pub token: Secret,
    /// A second one, until it is promoted or deleted.
    pub secondary: Option<Secondary>,
    /// How many mails its owners would have been sent about its tokens.
    pub mails: u64,
    /// When it was opened, by Twilio's clock.
    pub created: Timestamp,
    /// Whether requests have to be signed.
    pub pkcv: bool,
}

/// How many made-up rows each ordinary resource of an account has: enough for several pages of one.
const ROWS: usize = 3;

impl Account {
    /// What Twilio shows of it: its token only to those who came with a token.
    fn view(&self, caller: &Caller) -> AccountView {
        AccountView {
            sid: self.sid.clone(),
            owner: self.parent.clone().unwrap_or_else(|| self.sid.clone()),
            name: self.name.clone(),
            status: self.status,
            token: caller.sees_tokens().then(|| self.token.duplicate()),
            created: self.created,
        }
    }
}

impl World {
    /// Opens an account, under a parent or on its own; without a SID, one is made up.
    pub fn open_account(&mut self, now: Timestamp, sid: Option<AccountSid>, parent: Option<AccountSid>) -> AccountSid {
        let (sid, token) = (sid.unwrap_or_else(|| self.chance.account_sid()), self.chance.account_token());
        let created = self.twilio_time(now);
        // As Twilio names those that are given no name (Twilio docs, "Account resource").
        let usual = || created.strftime("SubAccount Created at %Y-%m-%d %I:%M %P").to_string();
        let name = if parent.is_some() { usual() } else { "The sandbox".to_owned() };
        let (id, status, secondary, mails, pkcv) = (sid.clone(), Status::Active, None, 0, false);
        let account = Account { sid: id, parent, name, status, token, secondary, mails, created, pkcv };
        self.accounts.insert(sid.clone(), account);
        sid
    }

    /// Suspends, closes or reactivates an account; false if there is none.
    pub fn set_status(&mut self, account: &AccountSid, status: Status) -> bool {
        self.accounts.get_mut(account).map(|account| account.status = status).is_some()
    }

    /// Demands signed requests from now on, or no longer; false if there is no such account. In the real service only the
    /// Console can do so, and it takes a few minutes (Twilio docs, "Public Key Client Validation Quickstart").
    pub fn enforce_signatures(&mut self, account: &AccountSid, enforced: bool) -> bool {
        self.accounts.get_mut(account).map(|account| account.pkcv = enforced).is_some()
    }

    /// Names an account; false if there is none.
    pub fn name_account(&mut self, account: &AccountSid, name: &str) -> bool {
        self.accounts.get_mut(account).map(|account| name.clone_into(&mut account.name)).is_some()
    }

    /// One level only (recorded from the real service).
    pub(super) fn create_account(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        name: Option<&str>,
    ) -> Result<Answer, Refusal> {
        fits(name)?;
        if self.parent_of(&caller.account).is_some() {
            return Err(Refusal::Nested);
        }
        let sid = self.open_account(now, None, Some(caller.account.clone()));
        if let Some(name) = name {
            self.name_account(&sid, name);
        }
        let parent_enforces = self.accounts.get(&caller.account).is_some_and(|parent| parent.pkcv);
        self.enforce_signatures(&sid, parent_enforces && self.faults.subaccounts_inherit_pkcv);
        let made = self.accounts.get(&sid).ok_or(Refusal::NotFound)?;
        Ok(Answer::AccountMade(made.view(caller)))
    }

    /// Only a parent suspends, reactivates or closes, and only its subaccounts; closing is for good (Twilio docs, "REST API:
    /// Subaccounts"). That Twilio takes numbers for the status too is left out: which one means what is published nowhere.
    pub(super) fn update_account(
        &mut self,
        caller: &Caller,
        sid: &AccountSid,
        name: Option<&str>,
        status: Option<&str>,
    ) -> Result<Answer, Refusal> {
        fits(name)?;
        let account = self.accounts.get_mut(sid).ok_or(Refusal::NotFound)?;
        if let Some(word) = status {
            let all = [Status::Active, Status::Suspended, Status::Closed];
            let status = all.into_iter().find(|status| status.word() == word).ok_or(Refusal::Constraint)?;
            let may = account.parent.as_ref() == Some(&caller.account) && account.status != Status::Closed;
            if account.status != status && !may {
                return Err(Refusal::Standing);
            }
            account.status = status;
        }
        account.name = name.map_or_else(|| account.name.clone(), str::to_owned);
        Ok(Answer::Account(account.view(caller)))
    }

    pub(super) fn fetch_account(&self, caller: &Caller, account: &AccountSid) -> Result<Answer, Refusal> {
        let account = self.accounts.get(account).ok_or(Refusal::NotFound)?;
        Ok(Answer::Account(account.view(caller)))
    }

    /// The caller's own account and its subaccounts, newest first.
    pub(super) fn list_accounts(
        &self,
        caller: &Caller,
        name: Option<&str>,
        status: Option<&str>,
        paging: &Paging,
    ) -> Result<Answer, Refusal> {
        let own =
            |account: &&Account| account.sid == caller.account || account.parent.as_ref() == Some(&caller.account);
        let named = |account: &&Account| name.is_none_or(|name| name == account.name);
        let standing = |account: &&Account| status.is_none_or(|status| status == account.status.word());
        let mut accounts: Vec<_> = self.accounts.values().filter(own).filter(named).filter(standing).collect();
        accounts.sort_by_key(|account| Reverse((account.created, account.sid.clone())));
        paging.cut(accounts.into_iter().map(|account| account.view(caller)).collect()).map(Answer::Accounts)
    }

    pub(super) fn list_numbers(&self, account: &AccountSid, paging: &Paging) -> Result<Answer, Refusal> {
        Ok(Answer::Numbers(account.clone(), paging.cut((0..ROWS).collect())?))
    }

    pub(super) fn list_messages(&self, account: &AccountSid, paging: &Paging) -> Result<Answer, Refusal> {
        Ok(Answer::Messages(account.clone(), paging.cut((0..ROWS).collect())?))
    }
}
