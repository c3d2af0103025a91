//! One request and its answer.

use super::TwilioClient;
use super::answer::Answer;
use super::pair::Pair;
use crate::adapters::http::{self, Miss};
use crate::model::key::AccountSid;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE};
use reqwest::{RequestBuilder, Response};
use std::sync::PoisonError;
use url::Url;

impl TwilioClient {
    /// An address of the account: `…/2010-04-01/Accounts/AC…/a/b`.
    pub(super) fn address<const N: usize>(&self, account: &AccountSid, rest: [&str; N]) -> Url {
        self.base.at(["2010-04-01", "Accounts", account.as_str()].into_iter().chain(rest))
    }

    /// Sends one request, once, authenticated with the pair.
    pub(super) async fn call<'a>(&'a self, request: RequestBuilder, pair: Pair<'a>) -> Result<Answer<'a>, Miss> {
        let request = request.header(AUTHORIZATION, pair.authorization()).header(ACCEPT, "application/json");
        let response = http::send(request).await?;
        self.note_date(&response);
        let status = response.status().as_u16();
        Ok(Answer { status, body: http::body(response).await, pairs: [self.main(), pair] })
    }

    /// Notes the `Date` header as the head arrives, before a slow body makes it old.
    fn note_date(&self, response: &Response) {
        let text = response.headers().get(DATE).and_then(|value| value.to_str().ok());
        if let Some(date) = text.and_then(parse_date) {
            let mut noted = self.date.lock().unwrap_or_else(PoisonError::into_inner);
            // The local clock is read under the lock, so that a later note never has an earlier time.
            *noted = Some((date, self.clock.running()));
        }
    }
}

/// Reads a date as Twilio writes it, in headers (RFC 9110, IMF-fixdate) and in bodies (RFC 2822).
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    static PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}
