//! From an answer to bytes: status, headers and body, and the faults that an answer meets on its way.

use super::super::call::{Answer, Delivery, Refusal};
use super::route::{Parameters, Route};
use super::wire::Cutter;
use super::{Handle, pause, render};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use std::io;
use std::time::Duration;

/// An answer as text.
pub(super) struct Written {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Written {
    pub(super) fn answer(answer: &Answer, route: &Route<'_>, query: &Parameters) -> Self {
        match render::answer(answer, route, query) {
            Some(document) => Self::document(answer.status(), &document, route.xml),
            None => Self { status: StatusCode::NO_CONTENT, kind: "", text: String::new() },
        }
    }

    pub(super) fn refusal(refusal: Refusal, path: &str, xml: bool) -> Self {
        let status = refusal.terms().0;
        match render::refusal(refusal, path) {
            Some(document) => Self::document(status, &document, xml),
            None => Self { kind: "text/html", text: format!("<html><h1>{status}</h1></html>"), ..Self::empty(status) },
        }
    }

    /// Status and body.
    pub(super) fn told(&self) -> (u16, &str) {
        (self.status.as_u16(), &self.text)
    }

    fn document(status: u16, document: &render::Document, xml: bool) -> Self {
        let (kind, text) = match xml {
            true => ("application/xml", render::xml(document)),
            false => ("application/json", document.1.to_string()),
        };
        Self { kind, text, ..Self::empty(status) }
    }

    fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, kind: "", text: String::new() }
    }

    /// Something that is no JSON. An answer without content gets some, and with it another status.
    fn malformed(self) -> Self {
        let status = if self.status == StatusCode::NO_CONTENT { StatusCode::OK } else { self.status };
        Self { status, kind: "application/json", text: "{\"sid\": \"SK".to_owned() }
    }
}

/// An answer on its way.
pub(super) struct Sent {
    pub(super) delivery: Delivery,
    written: Written,
    headers: HeaderMap,
}

/// What Twilio sends with every answer (recorded from the real service).
const ALWAYS: [(&str, &str); 10] = [
    ("x-api-domain", "api.twilio.com"),
    ("x-home-region", "us1"),
    ("x-powered-by", "AT-5000"),
    ("x-shenanigans", "none"),
    ("strict-transport-security", "max-age=31536000"),
    ("access-control-allow-origin", "*"),
    ("access-control-allow-headers", ALLOWED_HEADERS),
    ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS"),
    ("access-control-expose-headers", "ETag"),
    ("access-control-allow-credentials", "true"),
];
const ALLOWED_HEADERS: &str = "Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, \
                               If-Unmodified-Since, Idempotency-Key";

impl Sent {
    pub(super) fn by_itself(world: &Handle, written: Written) -> Self {
        let mut sent = Self { delivery: Delivery::Whole, written, headers: HeaderMap::new() };
        for (name, value) in ALWAYS {
            sent.header(name, value);
        }
        let now = world.now();
        let date = world.lock().twilio_time(now);
        sent.header(header::DATE.as_str(), &render::http_date(date));
        sent
    }

    pub(super) fn header(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("our headers are printable ASCII");
        self.headers.insert(HeaderName::from_static(name), value);
    }

    pub(super) fn respond(mut self, cutter: &Cutter) -> Response {
        if self.delivery == Delivery::Malformed {
            self.written = self.written.malformed();
        }
        if self.written.status == StatusCode::UNAUTHORIZED {
            self.header(header::WWW_AUTHENTICATE.as_str(), "Basic realm=\"Twilio API\"");
        }
        if !self.written.text.is_empty() {
            self.header(header::CONTENT_TYPE.as_str(), self.written.kind);
            self.header(header::CONTENT_LENGTH.as_str(), &self.written.text.len().to_string());
        }
        let nothing_to_halve = self.delivery == Delivery::Cut && self.written.text.is_empty();
        if self.delivery == Delivery::Lost || nothing_to_halve {
            cutter.cut();
        }
        let mut response = Response::new(body(self.written.text, self.delivery));
        (*response.status_mut(), *response.headers_mut()) = (self.written.status, self.headers);
        response
    }
}

fn body(text: String, delivery: Delivery) -> Body {
    match delivery {
        _ if text.is_empty() => Body::empty(),
        Delivery::Whole | Delivery::Lost | Delivery::Delayed(_) | Delivery::Malformed => text.into(),
        Delivery::Cut => halved(text),
        Delivery::Drip(pause) => dripping(text, pause),
    }
}

/// Half of the text, then the end of the connection. The announced length stays that of the whole.
fn halved(text: String) -> Body {
    let whole = Bytes::from(text);
    let half = whole.slice(..whole.len() / 2);
    Body::from_stream(stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(half), None)),
            None => {
                // Time for the first half to be sent, or it would be dropped together with the connection.
                pause(Duration::from_millis(20)).await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None))
            }
        }
    }))
}

/// The text byte by byte, with a pause before each.
fn dripping(text: String, before_each: Duration) -> Body {
    Body::from_stream(stream::unfold(Bytes::from(text), move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        pause(before_each).await;
        let byte = left.split_to(1);
        Some((Ok::<_, io::Error>(byte), left))
    }))
}
