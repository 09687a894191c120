//! The admin port: HTTP for operators and their tools.
//!
//! ```text
//!   /health    200 while the process runs
//!   /ready     200 while SQL is served, 503 before and after
//!   /metrics   counters in Prometheus' text format
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::metrics::{self, Sample};

type Collect = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// What the admin port knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Admin {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ready: AtomicBool,
    collect: Mutex<Option<Collect>>,
}

impl Admin {
    /// Says whether SQL is served.
    pub fn set_ready(&self, ready: bool) {
        self.shared.ready.store(ready, Ordering::SeqCst);
    }

    /// Says where the metrics come from.
    pub fn set_metrics(&self, collect: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        *self.shared.collect.lock() = Some(Box::new(collect));
    }

    /// Answers requests until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let router = Router::new()
            .route("/health", get(|| async { "ok\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics_text))
            .with_state(self);
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin port is closed");
        }
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.shared.ready.load(Ordering::SeqCst) {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    let samples = admin.shared.collect.lock().as_ref().map(|collect| collect()).unwrap_or_default();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::render(samples)).into_response()
}
