//! What an answer of Twilio means: one set of rules for all operations (protocol, rule 2).

use super::pair::{Pair, redact};
use crate::adapters::http::{Body, Miss};
use crate::adapters::json::object;
use crate::model::fault::{Failure, Fault};
use serde::Deserialize;

/// "The requested resource … was not found" (Twilio docs, error 20404).
const NOT_FOUND: u32 = 20404;
/// "Maximum Number Of API Keys Exceeded" (Twilio docs, error 70151).
const TOO_MANY_KEYS: u32 = 70151;

/// "Authorization Error: required permission … is missing" (Twilio docs, error 70051): who is told this has been
/// recognised. A Restricted key is, everywhere that its policy does not name.
pub(super) const PERMISSION_MISSING: u32 = 70051;

/// An answer, read as far as it came.
pub(super) struct Answer<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body, or why there is no whole one.
    pub(super) body: Result<Body, Failure>,
    /// Whose secrets must not be shown.
    pub(super) pairs: [Pair<'a>; 2],
}

/// Twilio's error body: `{"code": 20404, "message": "…", "more_info": "…", "status": 404}` (Twilio docs, "Twilio's
/// Response"). The docs allow it to come without a code; then it is not told from what any gateway might write.
#[derive(Deserialize)]
pub(super) struct Complaint {
    /// Twilio's own error number.
    pub(super) code: u32,
    message: Option<String>,
    status: Option<u16>,
}

impl Answer<'_> {
    /// Whether the status is one of 2xx.
    pub(super) fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Twilio's error body, if this is one.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        let complaint: Complaint = object(self.body.as_ref().ok()?).ok()?;
        // Twilio's codes have five digits or more; smaller ones are some gateway's, and mostly repeat the status.
        let twilios = complaint.code >= 10_000 && complaint.status.is_none_or(|status| status == self.status);
        twilios.then_some(complaint)
    }

    /// Whether Twilio itself says that the thing does not exist. A bare 404 may come from anybody on the way.
    pub(super) fn says_gone(&self) -> bool {
        self.status == 404 && self.complaint().is_some_and(|complaint| complaint.code == NOT_FOUND)
    }

    /// The body as the shape that a success has; `what` names it in the failure.
    pub(super) fn parse<'b, T: Deserialize<'b>>(&'b self, accepted: &[u16], what: &str) -> Result<T, Miss> {
        if !accepted.contains(&self.status) {
            return Err(self.miss());
        }
        let body = self.body.as_ref().map_err(|failure| Miss::Unknown(failure.clone()))?;
        // Of the parser's error only the place is shown; its text quotes what it found, which may be a secret.
        object(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            self.malformed(&format!("the body is not {what} (line {line}, column {column})"))
        })
    }

    /// An answer that breaks its own rules: whether anything took effect is not known.
    pub(super) fn malformed(&self, problem: &str) -> Miss {
        Miss::Unknown(Failure::new(Fault::Malformed, &format!("HTTP {}, but {problem}", self.status)))
    }

    /// What an answer that is no success says about the request.
    pub(super) fn miss(&self) -> Miss {
        match (self.status, self.complaint(), &self.body) {
            // "This request is never processed … always safe to retry" (Twilio support, 360044308153).
            (429, complaint, _) => Miss::NotDone(self.failure(Fault::Throttled, complaint)),
            (400..=499, Some(complaint), _) => {
                Miss::NotDone(self.failure(self.refusal(complaint.code), Some(complaint)))
            }
            (400..=499, None, Err(failure)) => Miss::Unknown(failure.clone()),
            (400..=499, None, Ok(_)) => self.malformed("the body is not an error of Twilio"),
            (500..=599, complaint, _) => Miss::Unknown(self.failure(Fault::Server, complaint)),
            _ => Miss::Unknown(self.failure(Fault::Malformed, None)),
        }
    }

    fn refusal(&self, code: u32) -> Fault {
        match (self.status, code) {
            (_, TOO_MANY_KEYS) => Fault::Quota,
            // The key is known, and may not do this.
            (401, PERMISSION_MISSING) => Fault::Forbidden,
            (401, _) => Fault::Unauthorized,
            (403, _) => Fault::Forbidden,
            _ => Fault::Refused,
        }
    }

    fn failure(&self, fault: Fault, complaint: Option<Complaint>) -> Failure {
        let status = self.status;
        let text = match complaint {
            None => format!("HTTP {status}"),
            Some(Complaint { code, message: None, .. }) => format!("HTTP {status}, error {code}"),
            // Redacted before it is cut, or half a secret could be left at the end.
            Some(Complaint { code, message: Some(message), .. }) => {
                format!("HTTP {status}, error {code}: {}", redact(&message, &self.pairs))
            }
        };
        Failure::new(fault, &text)
    }
}
