//! Who may do what: authentication, then the rights of Main keys, Standard keys and account tokens.
//!
//! The table of rights is that of the Twilio docs, "Create API keys in Twilio Console"; that a Standard key is told 401
//! and not 403 was recorded from the real service.

use super::audit::Denial;
use super::call::{Call, Credentials, Operation, Refusal, Status};
use super::faults::Reach;
use super::keys::KeyKind;
use super::signature::{Form, Invalid};
use super::world::World;
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, KeySid};
use jiff::Timestamp;

/// A caller whose credentials were accepted.
pub(super) struct Caller {
    /// The account that the credentials belong to.
    pub(super) account: AccountSid,
    /// The SID that the caller came with.
    pub(super) sid: String,
    /// What kind of credentials they are.
    means: Means,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    Token,
    Key(KeyKind),
}

impl Caller {
    /// Whether it is a Restricted key.
    pub(super) fn is_restricted(&self) -> bool {
        self.means == Means::Key(KeyKind::Restricted)
    }

    /// Whether account tokens are shown: to API keys they come out empty, as recorded from the real service.
    pub(super) fn sees_tokens(&self) -> bool {
        self.means == Means::Token
    }
}

/// The part of the API that an operation belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Accounts,
    Keys,
    Tokens,
    Ordinary,
}

impl Area {
    fn of(operation: Operation) -> Self {
        match operation {
            Operation::CreateAccount | Operation::UpdateAccount => Area::Accounts,
            Operation::FetchAccount | Operation::ListAccounts => Area::Accounts,
            Operation::ListNumbers | Operation::ListMessages => Area::Ordinary,
            // Who may read events is not written; what every key may read is the rule.
            Operation::ListEvents | Operation::FetchEvent => Area::Ordinary,
            Operation::CreateSecondaryToken | Operation::DeleteSecondaryToken | Operation::PromoteToken => Area::Tokens,
            Operation::CreateKey | Operation::ListKeys => Area::Keys,
            Operation::CreatePublicKey | Operation::ListPublicKeys | Operation::FetchPublicKey => Area::Keys,
            Operation::UpdatePublicKey | Operation::DeletePublicKey => Area::Keys,
            Operation::FetchKey | Operation::UpdateKey | Operation::DeleteKey => Area::Keys,
        }
    }
}

/// Who was let in, to which account, and how the call was signed.
pub(super) type Admitted = (Caller, AccountSid, Option<Form>);

/// What a Restricted key needs for an operation. Those of keys and accounts are known from another client's source, that of
/// messages from a recorded answer; the others are made in their likeness.
fn permission(operation: Operation) -> &'static str {
    match operation {
        Operation::CreateKey => "/twilio/iam/api-keys/create",
        Operation::ListKeys => "/twilio/iam/api-keys/list",
        Operation::FetchKey => "/twilio/iam/api-keys/read",
        Operation::UpdateKey => "/twilio/iam/api-keys/update",
        Operation::DeleteKey => "/twilio/iam/api-keys/delete",
        Operation::CreateAccount => "/twilio/iam/accounts/create",
        Operation::UpdateAccount => "/twilio/iam/accounts/update",
        Operation::FetchAccount => "/twilio/iam/accounts/read",
        Operation::ListAccounts => "/twilio/iam/accounts/list",
        Operation::ListNumbers => "/twilio/phone-numbers/incoming-phone-numbers/list",
        Operation::ListMessages => "/twilio/messaging/messages/list",
        Operation::ListPublicKeys => "/twilio/iam/public-keys/list",
        Operation::CreatePublicKey => "/twilio/iam/public-keys/create",
        Operation::FetchPublicKey => "/twilio/iam/public-keys/read",
        Operation::UpdatePublicKey => "/twilio/iam/public-keys/update",
        Operation::DeletePublicKey => "/twilio/iam/public-keys/delete",
        Operation::CreateSecondaryToken => "/twilio/iam/auth-tokens/create",
        Operation::DeleteSecondaryToken => "/twilio/iam/auth-tokens/delete",
        Operation::PromoteToken => "/twilio/iam/auth-tokens/update",
        Operation::ListEvents => "/twilio/monitor/events/list",
        Operation::FetchEvent => "/twilio/monitor/events/read",
    }
}

/// What the caller is told, and what the audit notes.
type Denied = (Refusal, Denial);

const WRONG_SECRET: Denied = (Refusal::Authenticate, Denial::WrongSecret);
const UNKNOWN: Denied = (Refusal::Authenticate, Denial::Unknown);
const OTHER_REGION: Denied = (Refusal::Authenticate, Denial::OtherRegion);
const INACTIVE: Denied = (Refusal::Authenticate, Denial::AccountInactive);
const NOT_PERMITTED: Denied = (Refusal::Authenticate, Denial::NotPermitted);

impl World {
    /// Lets the caller in, and says which account the call is about.
    pub(super) fn admit(&mut self, now: Timestamp, call: &Call) -> Result<Admitted, Denied> {
        let caller = self.authenticate(now, call)?;
        if !self.is_active(&caller.account) {
            return Err(INACTIVE);
        }
        let signed = self.signature(now, call, &caller)?;
        let area = Area::of(call.request.operation());
        let Some(target) = self.target(call, &caller) else {
            let looks = area == Area::Accounts && caller.means != Means::Key(KeyKind::Standard);
            return Err(if looks { (Refusal::NotFound, Denial::NotPermitted) } else { NOT_PERMITTED });
        };
        if caller.means == Means::Key(KeyKind::Restricted) {
            let needed = permission(call.request.operation());
            let barred = call.request.operation() == Operation::DeleteKey && self.faults.restricted_may_not_delete;
            if barred {
                return Err(NOT_PERMITTED);
            }
            if target != caller.account || !self.allows(&caller, needed) {
                return Err((Refusal::Lacks(needed), Denial::NotPermitted));
            }
        } else if !self.permits(&caller, &target, area) {
            return Err(NOT_PERMITTED);
        }
        if area != Area::Accounts && !self.is_active(&target) {
            return Err(INACTIVE);
        }
        Ok((caller, target, signed))
    }

    /// Whether the call is signed as the caller's account and the one it is about demand.
    fn signature(&self, now: Timestamp, call: &Call, caller: &Caller) -> Result<Option<Form>, Denied> {
        let enforces = |sid: &AccountSid| self.accounts.get(sid).is_some_and(|account| account.pkcv);
        let enforced = enforces(&caller.account) || self.target(call, caller).is_some_and(|target| enforces(&target));
        let refused = |invalid| (Refusal::Signature(invalid), Denial::BadSignature);
        if enforced && caller.means == Means::Token {
            return Err(refused(Invalid::Required));
        }
        let home = Home { account: caller.account.clone(), region: call.region.clone() };
        self.check_signature(now, (&home, caller.sid.as_str()), enforced, call.wire.as_ref()).map_err(refused)
    }

    /// Keys and tokens of one region mean nothing in another (Twilio docs, "Manage regional API credentials").
    fn authenticate(&mut self, now: Timestamp, call: &Call) -> Result<Caller, Denied> {
        let Credentials { user, secret } = call.credentials.as_ref().ok_or((Refusal::NoCredentials, Denial::Absent))?;
        if let Ok(sid) = AccountSid::new(user) {
            let account = self.accounts.get(&sid).ok_or(UNKNOWN)?;
            let second = account.secondary.as_ref().map(|second| second.token.expose());
            if call.region != Region::us1() {
                return Err(OTHER_REGION);
            }
            let matches = [Some(account.token.expose()), second].contains(&Some(secret.expose()));
            return if matches { Ok(Caller::new(sid, user, Means::Token)) } else { Err(WRONG_SECRET) };
        }
        let sid = KeySid::new(user).map_err(|_| (Refusal::InvalidUsername, Denial::Malformed))?;
        let key = self.keys.get(&sid).ok_or(UNKNOWN)?;
        if key.secret.expose() != secret.expose() {
            return Err(WRONG_SECRET);
        }
        if key.region != call.region {
            return Err(OTHER_REGION);
        }
        let caller = Caller::new(key.account.clone(), user, Means::Key(key.kind));
        self.meet_edge(now, &sid).map_or(Ok(caller), |denial| Err((Refusal::Authenticate, denial)))
    }

    /// Asks one of Twilio's edges about a key that exists or existed.
    fn meet_edge(&mut self, now: Timestamp, sid: &KeySid) -> Option<Denial> {
        let key = self.keys.get(sid)?;
        let (born, gone) = (now >= key.works_from, key.deleted.as_ref());
        let (deleted, settled) = (gone.is_some(), gone.is_some_and(|deletion| now >= deletion.works_until));
        let informed = (deleted && !settled || !born) && self.chance.happens(self.faults.edges);
        if settled || deleted && informed {
            Some(Denial::Deleted)
        } else if born || informed {
            None
        } else {
            Some(Denial::TooNew)
        }
    }

    /// The account that the call names, if it exists; the caller's own where it names none.
    fn target(&self, call: &Call, caller: &Caller) -> Option<AccountSid> {
        let Some(named) = &call.account else { return Some(caller.account.clone()) };
        AccountSid::new(named).ok().filter(|sid| self.accounts.contains_key(sid))
    }

    /// Whether the policy of a Restricted key has this permission, or `*` for the same resource.
    fn allows(&self, caller: &Caller, needed: &str) -> bool {
        let key = KeySid::new(&caller.sid).ok().and_then(|sid| self.keys.get(&sid));
        let has = |text: &String| {
            text == needed
                || text.strip_suffix('*').is_some_and(|resource| {
                    needed.rsplit_once('/').is_some_and(|(start, _)| format!("{start}/") == resource)
                })
        };
        key.is_some_and(|key| key.allow.iter().any(has))
    }

    fn permits(&self, caller: &Caller, target: &AccountSid, area: Area) -> bool {
        if *target == caller.account {
            return match (caller.means, area) {
                (Means::Token, _) | (_, Area::Ordinary) => true,
                (Means::Key(KeyKind::Main), Area::Tokens) => self.faults.main_key_on_auth_tokens,
                (Means::Key(kind), _) => kind != KeyKind::Standard,
            };
        }
        let is_parent = self.parent_of(target) == Some(&caller.account);
        is_parent
            && match (caller.means, self.faults.parent_main_key_on_subaccount) {
                (Means::Token, _) | (Means::Key(KeyKind::Main), Reach::AllV2010) => true,
                (Means::Key(KeyKind::Main), Reach::AccountsOnly) => area == Area::Accounts,
                (Means::Key(KeyKind::Main), Reach::AccountsAndKeys) => area != Area::Ordinary,
                (Means::Key(KeyKind::Standard | KeyKind::Restricted), _) => false,
            }
    }

    /// Whether the account and its parent are active: a suspended parent suspends its subaccounts (Twilio docs,
    /// "REST API: Subaccounts").
    fn is_active(&self, account: &AccountSid) -> bool {
        let active = |sid: &AccountSid| self.accounts.get(sid).is_some_and(|found| found.status == Status::Active);
        active(account) && self.parent_of(account).is_none_or(active)
    }

    pub(super) fn parent_of(&self, account: &AccountSid) -> Option<&AccountSid> {
        self.accounts.get(account).and_then(|account| account.parent.as_ref())
    }
}

impl Caller {
    fn new(account: AccountSid, sid: &str, means: Means) -> Self {
        Self { account, sid: sid.to_owned(), means }
    }
}
