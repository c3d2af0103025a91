//! One request and its answer.

use super::TwilioClient;
use super::answer::Answer;
use super::pair::Pair;
use super::reach::Reach;
use crate::adapters::http::{self, Miss};
use crate::model::fault::{Failure, Fault};
use crate::model::time::later;
use crate::ports::Issuer as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE};
use reqwest::{RequestBuilder, Response};
use std::sync::PoisonError;

impl TwilioClient {
    /// Sends one request, once, authenticated with the pair, and signed where that is wanted.
    pub(super) async fn call<'a>(
        &'a self,
        reach: &'a Reach,
        request: RequestBuilder,
        pair: Pair<'a>,
    ) -> Result<Answer<'a>, Miss> {
        let request = request.header(AUTHORIZATION, pair.authorization()).header(ACCEPT, "application/json");
        let request = match pair.signer {
            None => request,
            Some(signer) => signer.sign(request, &pair, self.twilio_time()).ok_or_else(|| {
                Miss::NotDone(Failure::new(Fault::Local, "the request can not be brought into a form to be signed"))
            })?,
        };
        let response = http::send(request).await?;
        self.note_date(&response);
        let status = response.status().as_u16();
        Ok(Answer { status, body: http::body(response).await, pairs: [reach.admin(), pair] })
    }

    /// What time it is at Twilio: a signature is judged by that clock.
    fn twilio_time(&self) -> Timestamp {
        self.date().map_or_else(|| self.clock.wall(), |(date, at)| later(date, self.clock.running().saturating_sub(at)))
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
