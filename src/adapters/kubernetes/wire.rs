//! One request to the API server and its answer, judged by HTTP status and by the `Status` object that errors come as
//! (Kubernetes API conventions, "Response Status Kind").

use super::super::content::Text;
use super::super::http::{self, Base};
use super::super::json::{Object, object};
use super::super::redact::redact;
use super::super::secrets;
use super::MANAGER;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::Version;
use crate::model::policy::SecretSource;
use crate::model::secret::Secret;
use crate::ports::Written;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Where the API server is, and how requests reach it.
pub(super) struct Wire {
    http: reqwest::Client,
    base: Base,
    token: SecretSource,
    namespace: String,
}

/// One object.
pub(super) struct Target {
    /// Its API group; empty for the core.
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    pub(super) resource: &'static str,
    pub(super) name: String,
}

/// What is asked of the server.
pub(super) enum Ask {
    /// To show the object.
    Get,
    /// To make it, if there is none.
    Create(Text),
    /// To make these fields ours, and have these values.
    Apply(Text),
    /// To change these fields, or take them away.
    Merge(Text),
    /// To say whether something is allowed.
    Review(Text),
}

/// What names one state of one object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Id {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

/// What the server answered, whatever it was.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The body; it may hold a secret.
    pub(super) body: http::Body,
    /// What the request was sent with, which the answer may repeat.
    token: Secret,
}

/// An error as Kubernetes writes it.
#[derive(Deserialize)]
struct Told {
    kind: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    group: Option<String>,
    /// In spite of its name the resource, in the plural.
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Ask {
    pub(super) fn create(body: &Value) -> Self {
        Ask::Create(bytes(body))
    }

    pub(super) fn apply(body: &Value) -> Self {
        Ask::Apply(bytes(body))
    }

    pub(super) fn merge(body: &Value) -> Self {
        Ask::Merge(bytes(body))
    }

    pub(super) fn review(body: &Value) -> Self {
        Ask::Review(bytes(body))
    }
}

fn bytes(body: &Value) -> Text {
    Zeroizing::new(serde_json::to_vec(body).expect("a JSON value always becomes JSON"))
}

/// The metadata of a request, with what it replaces.
pub(super) fn metadata(target: &Target, namespace: &str, id: Option<&Id>) -> Value {
    let mut metadata = json!({ "name": target.name, "namespace": namespace });
    if let Some(id) = id {
        metadata["uid"] = id.uid.as_str().into();
        metadata["resourceVersion"] = id.resource_version.as_str().into();
    }
    metadata
}

impl Id {
    pub(super) fn version(&self) -> Version {
        Version(format!("{}/{}", self.uid, self.resource_version))
    }

    /// Whether both halves are there.
    pub(super) fn is_whole(&self) -> bool {
        !self.uid.is_empty() && !self.resource_version.is_empty()
    }
}

impl Wire {
    pub(super) fn new(http: reqwest::Client, base: Base, token: SecretSource, namespace: &str) -> Self {
        Self { http, base, token, namespace: namespace.to_owned() }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Signs in and sends a request once.
    pub(super) async fn send(&self, target: &Target, ask: Ask) -> Outcome<Answer> {
        let token = match self.token().await {
            Ok(token) => token,
            Err(failure) => return Outcome::NotDone(failure),
        };
        let Ok(mut header) = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.expose()))) else {
            return Outcome::NotDone(Failure::new(Fault::Local, "the token is not one line of plain text"));
        };
        header.set_sensitive(true);
        let request = self.request(target, ask).header(AUTHORIZATION, header).header(ACCEPT, "application/json");
        let response = match http::send(request).await {
            Ok(response) => response,
            Err(miss) => return miss.into(),
        };
        let status = response.status();
        match http::body(response).await {
            Ok(body) => Outcome::Done(Answer { status, body, token }),
            Err(failure) => Outcome::Unknown(failure),
        }
    }

    fn request(&self, target: &Target, ask: Ask) -> reqwest::RequestBuilder {
        let root: &[&str] = if target.group.is_empty() { &["api", "v1"] } else { &["apis", target.group, "v1"] };
        let all = [root, &["namespaces", &self.namespace, target.resource]].concat();
        let one = [&all[..], &[&target.name]].concat();
        let manager = [("fieldManager", MANAGER)];
        let (method, path, force, kind, body) = match ask {
            Ask::Get => return self.http.request(Method::GET, self.base.at(one)),
            Ask::Review(body) => {
                let url = self.base.at(["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]);
                return self.http.post(url).header(CONTENT_TYPE, "application/json").body(body.to_vec());
            }
            Ask::Create(body) => (Method::POST, all, None, "application/json", body),
            // JSON is YAML too.
            Ask::Apply(body) => (Method::PATCH, one, Some(("force", "true")), "application/apply-patch+yaml", body),
            Ask::Merge(body) => (Method::PATCH, one, None, "application/merge-patch+json", body),
        };
        let mut url = self.base.at(path);
        url.query_pairs_mut().extend_pairs(manager).extend_pairs(force);
        self.http.request(method, url).header(CONTENT_TYPE, kind).body(body.to_vec())
    }

    /// Read again each time: the kubelet replaces a projected token before it ends (Kubernetes docs, "Managing Service
    /// Accounts").
    async fn token(&self) -> Result<Secret, Failure> {
        let source = self.token.clone();
        let local = |text: &str| Failure::new(Fault::Local, text);
        let read = tokio::task::spawn_blocking(move || secrets::read(&source)).await;
        read.map_err(|_| local("reading the token was cut off"))?.map_err(|error| local(&error.to_string()))
    }
}

impl Answer {
    /// The error, if the answer has the form of one of Kubernetes' own.
    fn told(&self) -> Option<Told> {
        object::<Told>(&self.body).ok().filter(|told| told.kind == "Status")
    }

    /// Whether this is an error that is told of this object itself, not of its namespace, a quota or a part of it.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        self.told().and_then(|told| told.details).is_some_and(|details| {
            details.group.as_deref().unwrap_or_default() == target.group
                && details.kind.as_deref() == Some(target.resource)
                && details.name.as_deref() == Some(&target.name)
        })
    }

    /// Whether the error has one of these reasons.
    fn is_because(&self, reasons: &[&str]) -> bool {
        self.told().and_then(|told| told.reason).is_some_and(|reason| reasons.contains(&reason.as_str()))
    }

    /// What names the state of the object that the answer shows.
    pub(super) fn id(&self) -> Option<Id> {
        #[derive(Deserialize)]
        struct Shown {
            metadata: Object<Id>,
        }
        object::<Shown>(&self.body).ok().map(|shown| shown.metadata.0).filter(Id::is_whole)
    }

    /// The answer as a failure; `hide` and the token are taken out of what was said before that is cut to length.
    pub(super) fn failure(&self, hide: &[&Secret]) -> Failure {
        let fault = match self.status.as_u16() {
            401 => Fault::Unauthorized,
            403 => Fault::Forbidden,
            429 => Fault::Throttled,
            500.. => Fault::Server,
            _ => Fault::Refused,
        };
        let said = match self.told().and_then(|told| told.message.or(told.reason)) {
            Some(said) if !said.is_empty() => said,
            _ if self.status.is_redirection() => "a redirect: give the address of the API server itself".to_owned(),
            _ => "no reason given".to_owned(),
        };
        let said = redact(&said, hide.iter().copied().chain([&self.token]));
        Failure::new(fault, &format!("Kubernetes answered {}: {said}", self.status.as_u16()))
    }
}

/// The answer to a write: the new version, or another one was there, or it was refused; anything else is unclear.
pub(super) fn written(answer: &Answer, target: &Target, hide: &[&Secret]) -> Outcome<Written> {
    match answer.status.as_u16() {
        200 | 201 => match answer.id() {
            Some(id) => Outcome::Done(Written::At(id.version())),
            None => Outcome::Unknown(Failure::new(Fault::Malformed, "the answer to a write names no version")),
        },
        404 | 409 if answer.is_of(target) && answer.is_because(&["AlreadyExists", "Conflict", "NotFound"]) => {
            Outcome::Done(Written::Conflict)
        }
        300..400 | 429 => Outcome::NotDone(answer.failure(hide)),
        // Without an error of Kubernetes' own form, something in between may have answered, before or after the server.
        400..500 if answer.told().is_some() => Outcome::NotDone(answer.failure(hide)),
        _ => Outcome::Unknown(answer.failure(hide)),
    }
}
