//! The door for everyone who speaks HTTP: Twilio's paths, and what happens to an answer on its way.

mod answer;
mod control;
mod render;
mod route;
mod wire;

use super::call::{Answer, Call, Credentials, Delivery, Refusal, Reply};
use super::faults::ErrorStatus;
use super::signature::{TOKEN, Wire};
use super::world::{Ticket, World};
use crate::model::home::Region;
use crate::model::secret::Secret;
use answer::{Sent, Written};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use route::{Parameters, Route};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wire::{Cutter, Doorstep};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One call and its answer as Twilio would give it, before anything happens to it on its way.
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query, as it was written.
    pub query: &'a str,
    /// The body, if it is a form; nothing else is read.
    pub form: &'a [u8],
    /// The HTTP status of the answer.
    pub status: u16,
    /// Its body.
    pub answer: &'a str,
}

/// Sees every call and its answer.
pub type Witness = Arc<dyn Fn(&Exchange<'_>) + Send + Sync>;

/// The world, shared between the door and whoever looks on.
#[derive(Clone)]
pub struct Handle {
    world: Arc<Mutex<World>>,
    clock: Clock,
    witness: Option<Witness>,
    /// The region that this door stands for.
    region: Region,
}

impl Handle {
    pub(super) fn new(world: World, clock: Clock, witness: Option<Witness>) -> Self {
        Self { world: Arc::new(Mutex::new(world)), clock, witness, region: Region::us1() }
    }

    /// The door of another region.
    pub(super) fn in_region(&self, region: Region) -> Self {
        Self { region, ..self.clone() }
    }

    /// The world, for as long as the guard is held; nobody is served meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time in this world.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Serves until it is told to stop.
pub(super) async fn serve(listener: TcpListener, world: Handle, stop: CancellationToken) -> io::Result<()> {
    let router = Router::new().nest("/_sandbox", control::router()).fallback(twilio).with_state(world);
    let service = router.into_make_service_with_connect_info::<Cutter>();
    axum::serve(Doorstep(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The largest body that is read; a friendly name fits many times.
const BODY_LIMIT: usize = 64 * 1024;

async fn twilio(State(world): State<Handle>, ConnectInfo(cutter): ConnectInfo<Cutter>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes()));
    let miss = |refusal| Sent::by_itself(&world, Written::refusal(refusal, path, false)).respond(&cutter);
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else { return miss(Refusal::Constraint) };
    let Some(route) = Route::find(path) else { return miss(Refusal::NotFound) };
    let form = form(&parts.headers, &body);
    let Some(request) = route.request(&parts.method, &query, &form) else {
        return miss(Refusal::MethodNotAllowed);
    };
    let account = route.account(&query, &form);
    if route.needs_account() && account.is_none() {
        return miss(Refusal::NoAccount);
    }
    // Only a signature asks how a request came over the wire.
    let wire = parts.headers.contains_key(TOKEN).then(|| wire_of(&parts, &body));
    let region = world.region.clone();
    let call = Call { credentials: credentials(&parts.headers), account, region, request, wire };
    // A task of its own, so that the work is done even if the caller hangs up while waiting: as Twilio would.
    let Ok(served) = tokio::spawn(work(world.clone(), call)).await else {
        cutter.cut(); // The process is ending.
        return miss(Refusal::Broken(ErrorStatus::UNAVAILABLE));
    };
    let written = match &served.reply.answer {
        Ok(answer) => Written::answer(answer, &route.at(origin(&parts)), &query),
        Err(refusal) => Written::refusal(*refusal, route.told(), route.xml),
    };
    if let Some(witness) = &world.witness {
        let (method, path, query) = (parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default());
        let (status, answer) = written.told();
        witness(&Exchange { method, path, query, form: &body, status, answer });
    }
    served.sent(written).respond(&cutter)
}

/// The request as it came.
fn wire_of(parts: &Parts, body: &[u8]) -> Wire {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Wire {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.to_vec(),
    }
}

/// Where the caller thinks that Twilio is: addresses of pages lead there again.
fn origin(parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if host.ends_with(".twilio.com") { "https" } else { "http" };
    format!("{scheme}://{host}")
}

/// The parameters of a body, if it is a form; nothing else is read.
fn form(headers: &HeaderMap, body: &[u8]) -> Parameters {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    Parameters::parse(if kind.starts_with("application/x-www-form-urlencoded") { body } else { b"" })
}

/// User and password of HTTP Basic authentication (RFC 7617); anything else counts as no credentials.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Credentials { user: user.to_owned(), secret: Secret::new(secret.to_owned()) })
}

/// A call that is under way; whatever ends it frees its place.
struct Place {
    world: Handle,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.world.lock().depart(&self.ticket);
    }
}

/// A call that was worked on.
struct Served {
    place: Place,
    reply: Reply,
    took: Duration,
}

async fn work(world: Handle, call: Call) -> Served {
    let (began, operation) = (world.now(), call.request.operation());
    let ticket = world.lock().arrive(began, &call);
    let place = Place { world, ticket };
    pause(place.ticket.latency).await;
    let now = place.world.now();
    let reply = place.world.lock().perform(now, &place.ticket, call);
    if let Delivery::Delayed(by) = reply.delivery {
        pause(by).await;
    }
    let status = reply.answer.as_ref().map_or_else(|refusal| refusal.terms().0, Answer::status);
    tracing::debug!(?operation, status, delivery = ?reply.delivery, "answered");
    let took = Duration::try_from(place.world.now().duration_since(began)).unwrap_or_default();
    Served { place, reply, took }
}

impl Served {
    fn sent(&self, written: Written) -> Sent {
        let mut sent = Sent::by_itself(&self.place.world, written);
        let ticket = &self.place.ticket;
        sent.header("twilio-request-id", &ticket.id);
        sent.header("twilio-concurrent-requests", &ticket.concurrent.to_string());
        sent.header("twilio-request-duration", &format!("{:.3}", self.took.as_secs_f64()));
        sent.delivery = self.reply.delivery;
        sent
    }
}

/// The runtime's timers end up to so much too late: they round up to whole milliseconds, twice.
const COARSE: Duration = Duration::from_millis(2);

/// Waits, and not longer: what is measured against this sandbox should not have to know the runtime's rounding. So the end
/// of it is waited for on a thread.
#[expect(clippy::disallowed_methods, reason = "this door lives in real time")]
async fn pause(duration: Duration) {
    let end = Instant::now() + duration;
    if duration > COARSE {
        tokio::time::sleep(duration - COARSE).await;
    }
    let rest = move || std::thread::sleep(end.saturating_duration_since(Instant::now()));
    if !duration.is_zero() && tokio::task::spawn_blocking(rest).await.is_err() {
        tracing::debug!("the process is ending");
    }
}
