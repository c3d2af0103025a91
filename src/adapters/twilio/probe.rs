//! Whether a pair works, asked as a consumer would ask: with the pair itself, at an ordinary resource.
//!
//! Not at the key itself and not at the account: those answer 401 to a Standard key that works (observed, 2026).

use super::TwilioClient;
use super::answer::Answer;
use super::pair::Pair;
use crate::adapters::http::Miss;
use crate::model::key::AccountSid;
use crate::ports::Verdict;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Where to ask, in this order; a 404 leads to the next. Phone numbers first: they are the account's own, while
/// messages and calls are its customers' business, so they are asked for only where there is no such resource.
const RESOURCES: [&str; 3] = ["IncomingPhoneNumbers.json", "Messages.json", "Calls.json"];

/// "Authorization Error: required permission … is missing" (Twilio docs, error 70051): who is told this has been
/// recognised. A Restricted key is, everywhere that its policy does not name.
const PERMISSION_MISSING: u32 = 70051;

impl TwilioClient {
    /// Asks with the pair; the first resource that exists decides.
    pub(super) async fn probe_pair(&self, account: &AccountSid, pair: Pair<'_>) -> Result<Verdict, Miss> {
        let [first, others @ ..] = RESOURCES;
        let mut answer = self.ask(account, first, pair).await?;
        for resource in others {
            if answer.status == 404 {
                answer = self.ask(account, resource, pair).await?;
            }
        }
        verdict(&answer)
    }

    async fn ask<'a>(&'a self, account: &AccountSid, resource: &str, pair: Pair<'a>) -> Result<Answer<'a>, Miss> {
        let mut url = self.address(account, [resource]);
        url.set_query(Some("PageSize=1"));
        self.call(self.kept.get(url), pair).await
    }
}

fn verdict(answer: &Answer<'_>) -> Result<Verdict, Miss> {
    match answer.status {
        // The body must be whole and of Twilio's kind: a page that some gateway puts in its place proves nothing.
        200..=299 => {
            let _: BTreeMap<String, IgnoredAny> = answer.parse(&[answer.status], "a JSON object")?;
            Ok(Verdict::Works)
        }
        401 if answer.body.is_ok() => match answer.complaint() {
            Some(complaint) if complaint.code == PERMISSION_MISSING => Ok(Verdict::Works),
            Some(_) => Ok(Verdict::Refused),
            // Not Twilio's own words: something on the way wants to be signed in to. That says nothing of the pair.
            None => Err(answer.miss()),
        },
        _ => Err(answer.miss()),
    }
}
