//! One request to Vault and its answer: built by `vaultrs`, sent by our own client, judged by status and error list.

use super::super::http;
use super::super::json::object;
use super::super::redact::redact;
use super::Unfit;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::BadName;
use crate::model::secret::Secret;
use reqwest::header::HeaderValue;
use reqwest::{RequestBuilder, StatusCode};
use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;
use url::Url;
use vaultrs::api::{EndpointError, EndpointMiddleware};

/// Where Vault is, and how requests reach it.
pub(super) struct Wire {
    http: reqwest::Client,
    base: String,
    middleware: EndpointMiddleware,
}

/// What Vault answered, whatever it was.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The body; it may hold a secret.
    pub(super) body: http::Body,
    /// What the request was sent with, which the answer may repeat.
    token: Option<Arc<Secret>>,
}

impl Wire {
    /// The address must be a server's root: `vaultrs` puts the API version in front of everything else.
    pub(super) fn new(http: reqwest::Client, address: &Url, namespace: Option<&str>) -> Result<Self, Unfit> {
        let root = address.path() == "/" && address.query().is_none() && address.fragment().is_none();
        if !matches!(address.scheme(), "http" | "https") || !root || !address.username().is_empty() {
            return Err(Unfit {
                what: "address",
                accepted: BadName("http or https, a host and a port, without a path"),
            });
        }
        if namespace.is_some_and(|name| HeaderValue::from_str(name).is_err()) {
            return Err(Unfit { what: "namespace", accepted: BadName("printable characters") });
        }
        // The token is not among these settings: they would keep it in clear, and panic on one that fits no header.
        let middleware = EndpointMiddleware {
            token: String::new(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: namespace.map(str::to_owned),
        };
        Ok(Self { http, base: address.to_string(), middleware })
    }

    /// Builds a request, which can be sent with one token or another.
    pub(super) fn request(&self, endpoint: impl Endpoint) -> Result<reqwest::Request, Failure> {
        let unfit = || Failure::new(Fault::Local, "the request to Vault could not be built");
        let request = endpoint.with_middleware(&self.middleware).request(&self.base).map_err(|_| unfit())?;
        reqwest::Request::try_from(request).map_err(|_| unfit())
    }

    /// Where the server is, for people.
    pub(super) fn address(&self) -> &str {
        &self.base
    }

    /// Sends a request once.
    pub(super) async fn send(&self, mut request: reqwest::Request, token: Option<Arc<Secret>>) -> Outcome<Answer> {
        if let Some(token) = &token {
            let Ok(mut header) = HeaderValue::from_str(token.expose()) else {
                return Outcome::NotDone(Failure::new(Fault::Local, "the Vault token is not one line of plain text"));
            };
            header.set_sensitive(true);
            request.headers_mut().insert("X-Vault-Token", header);
        }
        let response = match http::send(RequestBuilder::from_parts(self.http.clone(), request)).await {
            Ok(response) => response,
            Err(miss) => return miss.into(),
        };
        let status = response.status();
        match http::body(response).await {
            Ok(body) => Outcome::Done(Answer { status, body, token }),
            Err(failure) => Outcome::Unknown(failure),
        }
    }
}

impl Answer {
    /// The errors that Vault lists; `None` if the answer does not have the form of Vault's errors.
    pub(super) fn errors(&self) -> Option<Vec<String>> {
        object(&self.body).ok().map(|EndpointError { errors }| errors)
    }

    /// Whether one of the errors contains this text.
    pub(super) fn says(&self, text: &str) -> bool {
        self.errors().iter().flatten().any(|error| error.contains(text))
    }

    /// The answer as a failure; `hide` and the token are taken out of what Vault said before that is cut to length.
    pub(super) fn failure(&self, hide: &[&Secret]) -> Failure {
        let fault = match self.status.as_u16() {
            401 => Fault::Unauthorized,
            403 if self.says("invalid token") => Fault::Unauthorized,
            403 => Fault::Forbidden,
            429 => Fault::Throttled,
            // 412: a Vault Enterprise node has not yet replicated what the request rests on.
            412 | 500.. => Fault::Server,
            _ => Fault::Refused,
        };
        let said = match self.errors() {
            Some(errors) if !errors.is_empty() => errors.join("; "),
            _ if self.status.is_redirection() => "a redirect: give the address of the active node".to_owned(),
            _ => "no reason given".to_owned(),
        };
        let said = redact(&said, hide.iter().copied().chain(self.token.as_deref()));
        Failure::new(fault, &format!("Vault answered {}: {said}", self.status.as_u16()))
    }
}

/// A request for which `vaultrs` has no type, or one that the servers do not take.
pub(super) struct Ask {
    pub(super) method: RequestMethod,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Endpoint for Ask {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        self.method.clone()
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.body.as_ref().map(|body| body.to_string().into_bytes()))
    }
}

/// Asks what kind of engine a mount is, as Vault's own command line does before it uses one. Every token may ask that
/// has any right inside the mount.
pub(super) struct DescribeMount<'a> {
    pub(super) mount: &'a str,
}

impl Endpoint for DescribeMount<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("sys/internal/ui/mounts/{}", self.mount)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::GET
    }
}

/// Writes a new version over exactly version `cas`; the data goes out as the text that it is, not as numbers read and
/// written again.
pub(super) struct WriteSecret<'a> {
    pub(super) mount: &'a str,
    pub(super) path: &'a str,
    pub(super) cas: u64,
    pub(super) data: &'a RawValue,
}

impl Endpoint for WriteSecret<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("{}/data/{}", self.mount, self.path)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            options: Options,
            data: &'a RawValue,
        }
        #[derive(Serialize)]
        struct Options {
            cas: u64,
        }
        let body = Body { options: Options { cas: self.cas }, data: self.data };
        let body = serde_json::to_vec(&body).map_err(|error| ClientError::DataParseError { source: error.into() })?;
        Ok(Some(body))
    }
}
