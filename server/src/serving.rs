//! Serving SQL: here, in each tenure that this node has, and otherwise wherever it is served.
//!
//! ```text
//!   a tenure begins -> Database -> Frontend -> the route leads here, other nodes are told
//!   it ends         -> the route leads elsewhere -> sessions end -> Database is dropped
//! ```
//!
//! Where the database cannot be opened, another node is asked to try; this one tries again when the tenure comes back to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shardforge_pgwire::{Frontend, FrontendOptions, Route};
use tokio::sync::watch;

use crate::config::Config;
use crate::metrics::{self, Sample};
use crate::wiring::{Backend, Database, Instance, NodeId, OpenError, StoreObserver, Tenure};

/// After the database could not be opened, before it is tried again.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// See the module's essay.
pub struct Serving {
    config: Config,
    instance: Arc<Instance>,
    routes: watch::Sender<Route>,
    /// What serves SQL here now.
    now: Mutex<Option<(Frontend<Backend>, StoreObserver)>>,
}

/// A database that is served.
struct Served {
    database: Database,
    frontend: Frontend<Backend>,
}

impl Serving {
    /// What serves the database of an open node; clients go where `routes` says.
    pub fn new(config: Config, instance: Arc<Instance>, routes: watch::Sender<Route>) -> Arc<Serving> {
        Arc::new(Serving { config, instance, routes, now: Mutex::new(None) })
    }

    /// Serves until `stop` says so; then statements that run may go on for the configured time.
    ///
    /// # Errors
    /// When the database cannot be opened and no other node could, or cannot be closed.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<(), OpenError> {
        let mut tenures = self.instance.tenure();
        let mut primary = self.instance.primary();
        let mut failed: Option<Instant> = None;
        loop {
            let tenure = tenures.borrow_and_update().clone().filter(|tenure| !tenure.has_ended());
            let Some(tenure) = tenure else {
                self.route_elsewhere(&primary);
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    changed = tenures.changed() => if changed.is_err() {
                        return Ok(());
                    },
                    changed = primary.changed() => if changed.is_err() {
                        return Ok(());
                    },
                }
                continue;
            };
            if let Some(failed) = failed {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    () = tenure.ended() => continue,
                    () = tokio::time::sleep(OPEN_PAUSE.saturating_sub(failed.elapsed())) => {}
                }
            }
            let served = match self.begin(tenure.clone()).await {
                Ok(served) => served,
                Err(error) if self.instance.is_alone() => return Err(error),
                Err(error) => {
                    // What is opened while the tenure ends fails, which says nothing about this node.
                    if !tenure.has_ended() {
                        tracing::warn!(%error, "the database could not be opened here; another node may");
                        self.instance.pass_on(&tenure, "the database could not be opened");
                        failed = Some(Instant::now());
                    }
                    continue;
                }
            };
            failed = None;
            let stopping = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => true,
                () = tenure.ended() => false,
            };
            self.end(served, stopping).await?;
            if stopping {
                return Ok(());
            }
            tracing::info!(reason = tenure.reason(), "this node serves SQL no more");
        }
    }

    /// Begins to serve a tenure's database.
    async fn begin(&self, tenure: Tenure) -> Result<Served, OpenError> {
        let began = Instant::now();
        let database = Database::open(&self.config, &self.instance, tenure).await?;
        let options = FrontendOptions {
            max_connections: self.config.max_connections,
            superuser_reserved_connections: self.config.superuser_reserved_connections,
            authentication_timeout: self.config.authentication_timeout,
        };
        let frontend = Frontend::new(database.backend(), options);
        *self.now.lock() = Some((frontend.clone(), database.observer()));
        self.routes.send_replace(Route::Local(Arc::new(frontend.clone())));
        self.instance.serving(true);
        tracing::info!(opened_in = ?began.elapsed(), "this node serves SQL");
        Ok(Served { database, frontend })
    }

    /// Ends it, with the grace of an orderly stop or at once.
    async fn end(&self, served: Served, stopping: bool) -> Result<(), OpenError> {
        self.instance.serving(false);
        self.routes.send_replace(Route::Unknown);
        let Served { database, frontend } = served;
        frontend.shutdown(if stopping { self.config.shutdown_grace } else { Duration::ZERO }).await;
        *self.now.lock() = None;
        if !stopping {
            return Ok(());
        }
        match database.close().await {
            // The tenure may have ended meanwhile: another node goes on, and what is closed here can be lost.
            Err(error) if !self.instance.is_alone() => {
                tracing::warn!(%error, "the database was not closed in order");
                Ok(())
            }
            closed => closed,
        }
    }

    fn route_elsewhere(&self, primary: &watch::Receiver<Option<NodeId>>) {
        let here = self.instance.id();
        let route = match *primary.borrow() {
            Some(node) if node != here => Route::Remote(node.0),
            _ => Route::Unknown,
        };
        self.routes.send_replace(route);
    }

    /// The counters of what serves SQL here; none while nothing does.
    pub fn samples(&self) -> Vec<Sample> {
        let now = self.now.lock();
        let Some((frontend, store)) = &*now else { return Vec::new() };
        let mut samples = metrics::of_frontend(frontend.metrics(), frontend.registry());
        samples.extend(store.samples());
        samples
    }
}
