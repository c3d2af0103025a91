//! The listener for machines: `/metrics`, `/livez`, `/readyz`. Read-only, without secrets, and separate from everything
//! that can change something.

use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the listener asks of the rest.
#[derive(Clone)]
pub struct Health {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Whether passes come as they should: `Err` says what is wrong.
    pub alive: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Whether work is being done: `Err` says why not.
    pub ready: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(health): State<Health>| async move { answer((health.alive)()) }))
        .route("/readyz", get(|State(health): State<Health>| async move { answer((health.ready)()) }))
        .with_state(health);
    axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn answer(health: Result<(), String>) -> Response {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
