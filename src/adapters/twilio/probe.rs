//! Whether a pair works, asked as a consumer would ask: with the pair itself, at an ordinary resource.
//!
//! Not at the key itself and not at the account: those answer 401 to a Standard key that works (observed, 2026).

use super::TwilioClient;
use super::answer::{Answer, PERMISSION_MISSING};
use super::pair::Pair;
use crate::adapters::http::Miss;
use crate::model::home::Home;
use crate::ports::Verdict;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use url::Url;

/// Where to ask, in this order. Phone numbers first: they are the account's own, while messages and calls are its
/// customers' business, so they are asked for only where the one before gave no answer to go by.
pub(super) const RESOURCES: [&str; 3] = ["IncomingPhoneNumbers.json", "Messages.json", "Calls.json"];

impl TwilioClient {
    /// Asks with the pair. A 404 leads to the next resource. So does the first refusal: that one resource is closed to a
    /// key does not mean that the pair is wrong; the second is believed.
    pub(super) async fn probe_pair(&self, home: &Home, pair: Pair<'_>) -> Result<Verdict, Miss> {
        let mut refusals = 0;
        let mut told = None;
        for resource in RESOURCES {
            let answer = self.ask(home, resource, pair).await?;
            match verdict(&answer) {
                Ok(Verdict::Refused) if refusals == 0 => refusals += 1,
                Err(miss) if answer.status == 404 => told = Some(miss),
                verdict => return verdict,
            }
        }
        told.filter(|_| refusals == 0).map_or(Ok(Verdict::Refused), Err)
    }

    /// Asks with the pair at an address that the policy names, and nowhere else.
    pub(super) async fn probe_at(&self, home: &Home, pair: Pair<'_>, url: &Url) -> Result<Verdict, Miss> {
        let reach = self.reach(home)?;
        verdict(&self.call(reach, reach.fresh.get(url.clone()), pair).await?)
    }

    pub(super) async fn ask<'a>(&'a self, home: &Home, resource: &str, pair: Pair<'a>) -> Result<Answer<'a>, Miss> {
        let reach = self.reach(home)?;
        let mut url = reach.address(&home.account, [resource]);
        url.set_query(Some("PageSize=1"));
        self.call(reach, reach.fresh.get(url), pair).await
    }
}

/// A success has a body that is whole and of Twilio's kind: a page that some gateway puts in its place proves nothing.
pub(super) fn accepted(answer: &Answer<'_>) -> Result<(), Miss> {
    let members: BTreeMap<String, IgnoredAny> = answer.parse(&[answer.status], "a JSON object")?;
    // Every error of Twilio has a code and no list of theirs has one, whatever status stands above it.
    if members.contains_key("code") { Err(answer.malformed("it holds an error")) } else { Ok(()) }
}

/// Whether an error tells of a signed request (Twilio docs, errors 70052, 70053, 70153 to 70156 and 20151 to 20160).
fn is_of_a_signature(code: u32) -> bool {
    matches!(code, 70_052 | 70_053 | 70_153..=70_156 | 20_151..=20_160)
}

fn verdict(answer: &Answer<'_>) -> Result<Verdict, Miss> {
    match answer.status {
        200..=299 => accepted(answer).map(|()| Verdict::Works),
        401 if answer.body.is_ok() => match answer.complaint() {
            Some(complaint) if complaint.code == PERMISSION_MISSING => Ok(Verdict::Works),
            // About the signature around it, which is not the pair's own: what a consumer signs with may be right.
            Some(complaint) if is_of_a_signature(complaint.code) => Err(answer.miss()),
            Some(_) => Ok(Verdict::Refused),
            // Not Twilio's own words: something on the way wants to be signed in to. That says nothing of the pair.
            None => Err(answer.miss()),
        },
        _ => Err(answer.miss()),
    }
}
