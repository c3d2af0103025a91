//! Which accounts there are, and whether one may be worked on (Twilio docs, "Account resource").

use super::TwilioClient;
use super::answer::Answer;
use super::keys::date;
use crate::adapters::http::Miss;
use crate::adapters::json::Object;
use crate::model::fleet::Listed;
use crate::model::home::Home;
use crate::model::key::AccountSid;
use crate::ports::Standing;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The members of an account that are looked at. Another status than these three is no clear answer.
#[derive(Deserialize)]
struct Account {
    sid: AccountSid,
    status: Status,
}

/// Read as text: derived, it would take `{"active": null}` for a status too.
#[derive(Deserialize)]
#[serde(try_from = "String")]
enum Status {
    Active,
    Suspended,
    Closed,
}

impl From<Shown> for Listed {
    fn from(shown: Shown) -> Self {
        Listed {
            sid: shown.sid,
            name: shown.friendly_name,
            active: matches!(shown.status, Status::Active),
            closed: matches!(shown.status, Status::Closed),
            created: shown.date_created,
        }
    }
}

impl TryFrom<String> for Status {
    type Error = &'static str;
    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            "closed" => Ok(Self::Closed),
            _ => Err("not a status"),
        }
    }
}

/// An account in the list. The rest of what is shown is not looked at; its auth token, for one.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) sid: AccountSid,
    status: Status,
    pub(super) friendly_name: String,
    #[serde(deserialize_with = "date")]
    date_created: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) accounts: Vec<Object<Shown>>,
    pub(super) next_page_uri: Option<String>,
}

impl TwilioClient {
    /// All pages, each account once.
    pub(super) async fn list_accounts(&self) -> Result<Vec<Listed>, Miss> {
        let reach = self.usual();
        let mut accounts = BTreeMap::new();
        let read = |answer: &Answer<'_>| {
            let page: Page = answer.parse(&[200], "a page of accounts")?;
            accounts.extend(page.accounts.into_iter().map(|Object(shown)| (shown.sid.clone(), Listed::from(shown))));
            Ok(page.next_page_uri)
        };
        self.pages(reach, reach.base.at(["2010-04-01", "Accounts.json"]), read).await?;
        Ok(accounts.into_values().collect())
    }

    /// Reads the account; a Main key may be refused this for a subaccount, which tells nothing about it.
    pub(super) async fn fetch_standing(&self, home: &Home) -> Result<Standing, Miss> {
        let (reach, account) = (self.reach(home)?, &home.account);
        let url = reach.account(account);
        let answer = self.call(reach, reach.kept.get(url), reach.admin()).await?;
        let found: Account = answer.parse(&[200], "an account with a status")?;
        if found.sid != *account {
            return Err(answer.malformed("it shows another account"));
        }
        Ok(match found.status {
            Status::Active => Standing::Active,
            Status::Suspended => Standing::Suspended,
            Status::Closed => Standing::Closed,
        })
    }
}
