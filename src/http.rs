//! The listener for machines: `/metrics`, `/livez`, `/readyz`. Read-only, without secrets, and separate from everything
//! that can change something.
//!
//! One request per connection, and everything ends: a client that is slow, or says nothing, gives its place back in
//! seconds, and there are so many places and no more.

use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the listener asks of the rest.
#[derive(Clone)]
pub struct Health {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Whether passes come as they should: `Err` says what is wrong.
    pub alive: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Whether work is being done: `Err` says why not.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// What a connection is shown now, if TLS is spoken. It may block for a moment, to look whether that was replaced.
    pub tls: Option<Shown>,
    /// Whether this is the token that `/metrics` is shown for, if one is asked for. It may block for a moment, too.
    pub token: Option<Asked>,
}

/// Tells what a connection is shown now.
pub type Shown = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Tells whether this is the token.
pub type Asked = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Connections at the same time; whoever comes then waits for the next place.
const PLACES: usize = 64;
/// How long a client may take for its part of TLS, and again for its request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a connection may live: a scrape takes ten seconds at most (Prometheus docs, "Configuration", scrape_timeout).
const WHOLE: Duration = Duration::from_secs(30);
/// How much of a request is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// How long to wait when no connection can be taken, mostly because the process has too many files open.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
    let tls = health.tls.clone();
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(health): State<Health>| async move { answer((health.alive)()) }))
        .route("/readyz", get(|State(health): State<Health>| async move { answer((health.ready)()) }))
        .with_state(health);
    let (places, connections) = (Arc::new(Semaphore::new(PLACES)), TaskTracker::new());
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the listener can not take a connection");
                _ = timeout(PAUSE, stop.cancelled()).await;
                continue;
            }
        };
        let (app, tls, stop) = (app.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            _ = timeout(WHOLE, talk(stream, app, tls, stop)).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What goes wrong here is the client's affair, and it may be anybody: nothing is logged.
async fn talk(stream: TcpStream, app: Router, tls: Option<Shown>, stop: CancellationToken) -> Option<()> {
    let Some(tls) = tls else { return converse(stream, app, stop).await };
    let config = spawn_blocking(move || tls()).await.ok()?;
    let stream = timeout(REQUEST, TlsAcceptor::from(config).accept(stream)).await.ok()?.ok()?;
    converse(stream, app, stop).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    stop: CancellationToken,
) -> Option<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(LONGEST).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended.ok(),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.ok()
}

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    if let Some(is_token) = health.token {
        let admitted = spawn_blocking(move || bearer(&headers).is_some_and(|token| is_token(token))).await;
        if !admitted.unwrap_or(false) {
            let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, ask, "the metrics are shown for a bearer token\n").into_response();
        }
    }
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The token of a request (RFC 6750, 2.1; the scheme in any case: RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = given.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn answer(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
