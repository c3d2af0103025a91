//! A stand-in for the API server of Kubernetes, in memory: Secrets and the workloads of `apps/v1`.
//!
//! No real one can be had where this is built. So it is held to what the documentation says ("Kubernetes API Concepts",
//! "Server-Side Apply", "Using RBAC Authorization", the API conventions on `Status`), to the source of the library
//! `apiserver` (`handlers/patch.go`, `registry/generic/registry/store.go`), and to what others have recorded of a real
//! server (k3s 1.34): an apply with an old `resourceVersion` is 409; one with `uid` and no object is 409, but one
//! with a `resourceVersion` alone makes the object anew; a wrong `uid` beside the right version is 422; an apply that
//! changes nothing keeps the version, and an annotation changes it, of Deployments the generation too.
//!
//! It is stricter where a mistake of ours would show: every unknown query parameter, content type, field of a Secret and
//! wrong name is refused. What it can not prove: that a real server, its admission and its garbage collection do the same;
//! what a controller does with a workload (a test writes the status itself).

mod objects;
mod rights;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use objects::{Object, Patch};
pub(crate) use rights::{Rule, everything};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// Where everything happens.
pub(crate) const NAMESPACE: &str = "billing";

/// A server on 127.0.0.1, for as long as this value lives.
pub(crate) struct ApiServer {
    pub(crate) port: u16,
    world: Arc<Mutex<World>>,
    serving: JoinHandle<()>,
}

/// Everything that it holds.
#[derive(Default)]
struct World {
    /// The version of the last change of anything.
    version: u64,
    made: u64,
    /// By resource and name.
    objects: BTreeMap<(String, String), Object>,
    /// Who may do what, by token.
    users: BTreeMap<String, Vec<Rule>>,
    /// How many more requests are let through before they are too many.
    patience: Option<usize>,
    /// Every request so far, as method, path with query, and content type.
    asked: Vec<String>,
}

/// One request, taken apart.
struct Call<'c> {
    verb: &'static str,
    group: &'c str,
    kind: &'static str,
    resource: &'c str,
    name: &'c str,
    query: BTreeMap<String, String>,
    content_type: &'c str,
    body: &'c [u8],
}

/// An error: status, reason, message, and which object it is of.
struct Wrong(u16, &'static str, String, Value);

type Answer = Result<(u16, Value), Wrong>;

impl ApiServer {
    /// A server that lets this token do everything.
    pub(crate) async fn start(token: &str) -> Self {
        let world = World { users: BTreeMap::from([(token.to_owned(), everything())]), ..World::default() };
        let world = Arc::new(Mutex::new(world));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(door).with_state(world.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, world, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets a token do this and nothing else.
    pub(crate) fn allow(&self, token: &str, rules: Vec<Rule>) {
        self.world.lock().unwrap().users.insert(token.to_owned(), rules);
    }

    /// Lets so many more requests through, and answers 429 from then on.
    pub(crate) fn tire(&self, patience: usize) {
        self.world.lock().unwrap().patience = Some(patience);
    }

    /// Every request so far: method, path with query, and content type.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.world.lock().unwrap().asked.clone()
    }

    /// An object as `kubectl get --output json` would show it.
    pub(crate) fn object(&self, resource: &str, name: &str) -> Option<Value> {
        let world = self.world.lock().unwrap();
        world.objects.get(&(resource.to_owned(), name.to_owned())).map(Object::shown)
    }

    /// Writes as a person does with `kubectl edit`, or makes the object: `change` gets it without its managed fields.
    pub(crate) fn edit(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut world = self.world.lock().unwrap();
        let key = (resource.to_owned(), name.to_owned());
        let object = match world.objects.remove(&key) {
            Some(object) => object,
            None => world.new_object(resource, name),
        };
        let edited = object.edited("kubectl-edit", change);
        let done = world.stored(key, object, edited);
        assert!(done.is_ok());
    }

    /// Writes the status of a workload, as its controller does.
    pub(crate) fn status(&self, resource: &str, name: &str, status: Value) {
        self.edit(resource, name, |object| object["status"] = status);
    }

    pub(crate) fn remove(&self, resource: &str, name: &str) {
        self.world.lock().unwrap().objects.remove(&(resource.to_owned(), name.to_owned()));
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn door(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = match to_bytes(body, 3 << 20).await {
        Ok(body) => body,
        Err(_) => return answer(Err(Wrong::plain(413, "RequestEntityTooLarge", "request entity too large"))),
    };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (token, content_type) = (header("authorization").strip_prefix("Bearer "), header("content-type"));
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut world = world.lock().unwrap();
    world.asked.push(format!("{} {target} {content_type}", parts.method));
    answer(world.answer(parts.method.as_str(), target, content_type, token, &body))
}

fn answer(answer: Answer) -> Response {
    let (code, body) = answer.unwrap_or_else(|Wrong(code, reason, message, details)| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        (code, status)
    });
    let mut answer = (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response();
    if code == 429 {
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    answer
}

impl Wrong {
    fn plain(code: u16, reason: &'static str, message: &str) -> Self {
        Self(code, reason, message.to_owned(), json!({}))
    }

    fn of(call: &Call<'_>, code: u16, reason: &'static str, message: String) -> Self {
        let mut details = json!({ "name": call.name, "kind": call.resource });
        if !call.group.is_empty() {
            details["group"] = call.group.into();
        }
        Self(code, reason, message, details)
    }

    /// `store.go`: another version is there than was named.
    fn stale(call: &Call<'_>) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(call, why)
    }

    fn conflict(call: &Call<'_>, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{}\": {why}", call.full(), call.name);
        Self::of(call, 409, "Conflict", message)
    }

    fn invalid(call: &Call<'_>, why: &str) -> Self {
        Self::of(call, 422, "Invalid", format!("{} \"{}\" is invalid: {why}", call.kind, call.name))
    }
}

impl Call<'_> {
    /// The resource with its group, as messages name it.
    fn full(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }

    fn key(&self) -> (String, String) {
        (self.resource.to_owned(), self.name.to_owned())
    }

    /// The query parameters that are known here, and no others.
    fn manager(&self) -> Result<&str, Wrong> {
        let known = BTreeSet::from(["fieldManager", "force"]);
        if let Some(other) = self.query.keys().find(|key| !known.contains(key.as_str())) {
            return Err(Wrong::plain(400, "BadRequest", &format!("unknown parameter {other}")));
        }
        let apply = self.content_type == "application/apply-patch+yaml";
        if !apply && self.query.contains_key("force") {
            return Err(Wrong::invalid(self, "force: Forbidden: may not be specified for non-apply patch"));
        }
        match self.query.get("fieldManager") {
            Some(manager) => Ok(manager),
            None if apply => Err(Wrong::invalid(self, "fieldManager: Required value: is required for apply patch")),
            None => Ok("unknown"),
        }
    }
}

/// The kinds that are known here: group, resource, kind.
const KINDS: [(&str, &str, &str); 4] = [
    ("", "secrets", "Secret"),
    ("apps", "deployments", "Deployment"),
    ("apps", "statefulsets", "StatefulSet"),
    ("apps", "daemonsets", "DaemonSet"),
];

impl World {
    fn answer(&mut self, method: &str, target: &str, content_type: &str, token: Option<&str>, body: &[u8]) -> Answer {
        let Some(rules) = token.and_then(|token| self.users.get(token)).cloned() else {
            return Err(Wrong::plain(401, "Unauthorized", "Unauthorized"));
        };
        match self.patience.as_mut() {
            Some(0) => {
                let message = "The request was rejected because too many requests have been made";
                return Err(Wrong::plain(429, "TooManyRequests", message));
            }
            Some(left) => *left -= 1,
            None => (),
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if segments == ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] {
            return rights::review(&rules, body);
        }
        let (group, namespace, resource, name) = match segments[..] {
            ["api", "v1", "namespaces", namespace, resource] => ("", namespace, resource, None),
            ["api", "v1", "namespaces", namespace, resource, name] => ("", namespace, resource, Some(name)),
            ["apis", group, "v1", "namespaces", namespace, resource] => (group, namespace, resource, None),
            ["apis", group, "v1", "namespaces", namespace, resource, name] => (group, namespace, resource, Some(name)),
            _ => return Err(Wrong::plain(404, "NotFound", "the server could not find the requested resource")),
        };
        let Some((_, _, kind)) = KINDS.into_iter().find(|known| (known.0, known.1) == (group, resource)) else {
            return Err(Wrong::plain(404, "NotFound", "the server could not find the requested resource"));
        };
        let verb = match (method, name) {
            ("GET", Some(_)) => "get",
            ("POST", None) => "create",
            ("PATCH", Some(_)) => "patch",
            _ => return Err(Wrong::plain(405, "MethodNotAllowed", "the server does not allow this method here")),
        };
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let name = name.or(sent["metadata"]["name"].as_str()).unwrap_or_default();
        let call = Call { verb, group, kind, resource, name, query, content_type, body };
        rights::check(&rules, &call, namespace)?;
        if namespace != NAMESPACE {
            return match verb {
                "create" => Err(Wrong(
                    404,
                    "NotFound",
                    format!("namespaces \"{namespace}\" not found"),
                    json!({ "name": namespace, "kind": "namespaces" }),
                )),
                _ => Err(not_found(&call)),
            };
        }
        match verb {
            "get" => self.objects.get(&call.key()).map(|found| (200, found.shown())).ok_or_else(|| not_found(&call)),
            "create" => self.create(&call, sent.clone()),
            _ => self.patch(&call, sent.clone()),
        }
    }

    fn new_object(&mut self, resource: &str, name: &str) -> Object {
        self.made += 1;
        let (group, _, kind) = KINDS.into_iter().find(|known| known.1 == resource).unwrap();
        Object::new(group, kind, name, format!("00000000-0000-4000-8000-{:012}", self.made))
    }

    fn create(&mut self, call: &Call<'_>, sent: Value) -> Answer {
        let manager = call.manager()?.to_owned();
        if call.content_type != "application/json" {
            return Err(Wrong::plain(415, "UnsupportedMediaType", "the body of the request was in an unknown format"));
        }
        if self.objects.contains_key(&call.key()) {
            let message = format!("{} \"{}\" already exists", call.full(), call.name);
            return Err(Wrong::of(call, 409, "AlreadyExists", message));
        }
        if sent["metadata"].get("resourceVersion").is_some() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Wrong::plain(500, "InternalError", message));
        }
        let object = self.new_object(call.resource, call.name);
        let made = object.patched(call, &Patch::Merge(sent), &manager)?;
        self.stored(call.key(), object, made).map(|(_, shown)| (201, shown))
    }

    fn patch(&mut self, call: &Call<'_>, sent: Value) -> Answer {
        let manager = call.manager()?.to_owned();
        let force = call.query.get("force").is_some_and(|force| force == "true");
        let (patch, may_create) = match call.content_type {
            "application/apply-patch+yaml" => (Patch::Apply(sent.clone(), force), true),
            "application/merge-patch+json" => (Patch::Merge(sent.clone()), false),
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: …";
                return Err(Wrong::plain(415, "UnsupportedMediaType", message));
            }
        };
        let Some(object) = self.objects.get(&call.key()).cloned() else {
            return match sent["metadata"]["uid"].as_str() {
                _ if !may_create => Err(not_found(call)),
                Some(uid) => Err(Wrong::conflict(
                    call,
                    &format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found"),
                )),
                None => {
                    let object = self.new_object(call.resource, call.name);
                    let made = object.patched(call, &patch, &manager)?;
                    self.stored(call.key(), object, made).map(|(_, shown)| (201, shown))
                }
            };
        };
        let patched = object.patched(call, &patch, &manager)?;
        let named = |field: &str| sent["metadata"][field].as_str().filter(|text| !text.is_empty());
        if named("resourceVersion").is_some_and(|version| version != object.version.to_string()) {
            return Err(Wrong::stale(call));
        }
        if named("uid").is_some_and(|uid| uid != object.uid) {
            return Err(Wrong::invalid(call, "metadata.uid: Invalid value: field is immutable"));
        }
        self.stored(call.key(), object, patched)
    }

    /// Keeps it, with a new version unless nothing was changed.
    fn stored(&mut self, key: (String, String), before: Object, mut after: Object) -> Answer {
        if before.version == 0 || before != after {
            self.version += 1;
            after.version = self.version;
            after.generation += u64::from(before.value.get("spec") != after.value.get("spec"));
        }
        let shown = after.shown();
        self.objects.insert(key, after);
        Ok((200, shown))
    }
}

fn not_found(call: &Call<'_>) -> Wrong {
    Wrong::of(call, 404, "NotFound", format!("{} \"{}\" not found", call.full(), call.name))
}
