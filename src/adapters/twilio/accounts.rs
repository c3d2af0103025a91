//! Whether an account may be worked on (Twilio docs, "Account resource").

use super::TwilioClient;
use crate::adapters::http::Miss;
use crate::model::key::AccountSid;
use crate::ports::Standing;
use serde::Deserialize;

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

impl TwilioClient {
    /// Reads the account; a Main key may be refused this for a subaccount, which tells nothing about it.
    pub(super) async fn fetch_standing(&self, account: &AccountSid) -> Result<Standing, Miss> {
        let reach = self.reach(account);
        let url = reach.base.at(["2010-04-01", "Accounts", &format!("{account}.json")]);
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
