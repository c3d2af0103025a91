//! Lists, page by page.

use super::TwilioClient;
use super::answer::Answer;
use super::reach::Reach;
use crate::adapters::http::Miss;
use std::collections::BTreeSet;
use url::{Url, form_urlencoded};

/// The largest page Twilio gives (Twilio docs: 1 to 1000).
const FIRST_PAGE: &str = "PageSize=1000";
/// The longest list that is followed: 100,000 keys.
const MAX_PAGES: usize = 100;
/// The longest address of a next page that is followed; Twilio's have about 150 characters (observed, 2026).
const LONGEST_ADDRESS: usize = 4_096;

impl TwilioClient {
    /// Reads all pages of a list. `read` takes in one and says where it tells the next to be.
    pub(super) async fn pages(
        &self,
        reach: &Reach,
        mut url: Url,
        mut read: impl FnMut(&Answer<'_>) -> Result<Option<String>, Miss>,
    ) -> Result<(), Miss> {
        url.set_query(Some(FIRST_PAGE));
        let mut seen = BTreeSet::from([position(&url)]);
        loop {
            let answer = self.call(reach, reach.kept.get(url.clone()), reach.admin()).await?;
            let Some(next) = read(&answer)?.filter(|next| !next.is_empty()) else { return Ok(()) };
            if next.len() > LONGEST_ADDRESS {
                return Err(answer.malformed("the address of the next page is longer than 4 KiB"));
            }
            url.set_query(query(&next));
            // Asked of what was made of it: line breaks, for one, are left out of a URL (WHATWG URL standard).
            if url.query().is_none_or(str::is_empty) {
                return Err(answer.malformed("the address of the next page has no query"));
            }
            if !seen.insert(position(&url)) {
                return Err(answer.malformed("the list leads back to a page that was read before"));
            }
            if seen.len() > MAX_PAGES {
                return Err(answer.malformed("the list has more than 100 pages"));
            }
        }
    }
}

/// The query of an address, which is all that is believed of it: the rest could lead to any host (protocol, S15).
fn query(address: &str) -> Option<&str> {
    let address = address.split('#').next()?;
    let (_, query) = address.split_once('?')?;
    (!query.is_empty()).then_some(query)
}

/// What tells one page from another: the token, which says where the page begins, or else the whole query.
fn position(url: &Url) -> String {
    let query = url.query().unwrap_or_default();
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "PageToken");
    token.map_or_else(|| query.to_owned(), |(_, token)| format!("token {token}"))
}
