//! Where keys live: in an account, and there in one region.
//!
//! Keys, auth tokens and public keys belong to one region of Twilio's, and no other region knows them (Twilio docs, "Manage
//! regional API credentials"). So an account has as many sets of keys as it is used in regions.

use super::key::AccountSid;
use super::names::{BadName, name};
use serde::{Deserialize, Serialize};
use std::fmt;

name!(
    /// A region of Twilio's, such as `ie1`.
    Region,
    |text| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
    "the name of a region, such as \"ie1\""
);

/// Where keys live that nothing else is said of.
const FIRST: &str = "us1";

impl Region {
    /// The region in the United States, which every account begins with.
    pub fn us1() -> Self {
        Self(FIRST.into())
    }
}

/// An account in one region: whose keys are one set. Written as the SID of the account, with the region behind an `@` unless
/// it is `us1`: `AC…`, `AC…@ie1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Home {
    /// The account.
    pub account: AccountSid,
    /// The region.
    pub region: Region,
}

impl Home {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let (account, region) = text.split_once('@').unwrap_or((text, FIRST));
        let home = Self { account: AccountSid::new(account)?, region: Region::new(region)? };
        // One home, one text: the journal looks it up by that.
        if home.to_string() == text { Ok(home) } else { Err(BadName(AccountSid::ACCEPTS)) }
    }

    /// An account in `us1`.
    pub fn us1(account: AccountSid) -> Self {
        Self { account, region: Region::us1() }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.region.as_str() == FIRST {
            self.account.fmt(f)
        } else {
            f.pad(&format!("{}@{}", self.account, self.region))
        }
    }
}

impl TryFrom<String> for Home {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<Home> for String {
    fn from(home: Home) -> Self {
        home.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AC00000000000000000000000000000001";

    #[test]
    fn a_home_is_written_as_its_account_and_its_region_if_that_is_not_the_first() {
        let (first, other) = (Home::parse(ACCOUNT).unwrap(), Home::parse(&format!("{ACCOUNT}@ie1")).unwrap());
        assert_eq!((first.to_string(), other.to_string()), (ACCOUNT.to_owned(), format!("{ACCOUNT}@ie1")));
        assert_eq!((first.account == other.account, first == other), (true, false));
        assert_eq!(serde_json::to_string(&first).unwrap(), format!("\"{ACCOUNT}\""), "as before there were regions");
    }

    #[test]
    fn a_home_has_one_text_only() {
        for wrong in ["@us1", "@", "@IE1", "@ie1@ie1", "@ie1 ", " @ie1"] {
            assert!(Home::parse(&format!("{ACCOUNT}{wrong}")).is_err(), "{wrong}");
        }
        assert!(Home::parse("ie1").is_err() && Home::parse("").is_err());
    }
}
