//! `shardforge start`: runs a node in the foreground.
//!
//! ```text
//!   configuration -> ports -> node -> SQL is served, here or elsewhere -> "ready: postgresql://..."
//!   SIGTERM, SIGINT -> accept no more -> sessions end -> flush -> exit 0
//! ```
//!
//! The ports are taken before the data is opened, so that a second server on them fails at once. When the
//! storage fails the process ends with 1: what was acknowledged is on the disk.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use shardforge_pgwire::{Frontend, Gateway, GatewayOptions, Route};
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{CommandError, load};
use crate::admin::Admin;
use crate::cli::Start;
use crate::config::Config;
use crate::liveness;
use crate::metrics;
use crate::serving::Serving;
use crate::telemetry;
use crate::wiring::{Backend, Instance};

pub fn run(args: &Start) -> Result<ExitCode, CommandError> {
    let (settings, config) = load(&args.settings)?;
    telemetry::start(&config.log)?;
    for name in &settings.unknown_variables {
        tracing::warn!("the variable {name} sets nothing");
    }
    let runtime = tokio_runtime(&config)?;
    liveness::watch(runtime.handle().clone()).map_err(CommandError::System)?;
    runtime.block_on(serve(&config))
}

/// Stack of a thread that runs statements. Only what is used of it takes memory.
const STATEMENT_STACK_BYTES: usize = 16 << 20;

/// The threads that run statements.
pub fn tokio_runtime(config: &Config) -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads)
        .thread_name("shardforge")
        // Statements may be nested as deeply as the parser allows; what walks their trees recurses.
        .thread_stack_size(STATEMENT_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(CommandError::System)
}

async fn serve(config: &Config) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let mut signals = Signals::listen()?;
    let listener = listen(&config.listen, config.insecure).await?;
    let admin = Admin::default();
    let admin_address = match &config.admin_listen {
        Some(address) => {
            let listener = listen(address, config.insecure).await?;
            let address = listener.local_addr().map_err(CommandError::System)?;
            tokio::spawn(admin.clone().serve(listener));
            Some(address)
        }
        None => None,
    };

    let address = listener.local_addr().map_err(CommandError::System)?;
    let sql_address = reachable(address).to_string();
    let instance = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(ExitCode::SUCCESS);
        }
        instance = Instance::open(config, &sql_address) => Arc::new(instance?),
    };
    let (routes, route) = watch::channel(Route::Unknown);
    let gateway = Gateway::new(gateway_options(config), route.clone(), instance.dial());
    instance.take_tunnels(gateway.clone());
    let serving = Serving::new(config.clone(), Arc::clone(&instance), routes);
    collect_metrics(&admin, &gateway, &serving, &instance, started);
    let (stop, stopped) = watch::channel(false);
    let (mut running, accepting) = {
        let (serving, gateway) = (Arc::clone(&serving), gateway.clone());
        (
            tokio::spawn(async move { serving.run(stopped).await }),
            tokio::spawn(async move { gateway.serve(listener).await }),
        )
    };
    let following = tokio::spawn(follow_readiness(admin.clone(), route, {
        let config = config.clone();
        move || announce(&config, address, admin_address, started)
    }));

    let failed = tokio::select! {
        biased;
        reason = instance.failed() => Some(reason),
        signal = signals.next() => {
            tracing::info!(signal, grace = ?config.shutdown_grace, "shutting down");
            None
        }
        ended = &mut running => {
            following.abort();
            return match ended {
                Ok(Ok(())) => {
                    tracing::error!("this node can serve no more; restart it");
                    Ok(ExitCode::FAILURE)
                }
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(CommandError::System(std::io::Error::other(error))),
            };
        }
    };
    following.abort();
    admin.set_ready(false);
    if let Some(reason) = failed {
        tracing::error!(%reason, "the storage has failed; restart the node when the cause is removed");
        return Ok(ExitCode::FAILURE);
    }
    stop.send_replace(true);
    let ending = async {
        gateway.shutdown(config.shutdown_grace).await;
        (&mut running).await
    };
    tokio::select! {
        biased;
        ended = ending => if let Ok(outcome) = ended {
            outcome?;
        },
        signal = signals.next() => tracing::warn!(signal, "not waiting for running statements"),
    }
    running.abort();
    accepting.abort();
    instance.close().await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The node is ready while clients are served, here or elsewhere; the first time it is announced.
async fn follow_readiness(admin: Admin, mut route: watch::Receiver<Route>, announce: impl FnOnce()) {
    let mut announce = Some(announce);
    loop {
        let ready = !matches!(*route.borrow_and_update(), Route::Unknown);
        admin.set_ready(ready);
        if ready && let Some(announce) = announce.take() {
            announce();
        }
        if route.changed().await.is_err() {
            return;
        }
    }
}

fn gateway_options(config: &Config) -> GatewayOptions {
    let defaults = GatewayOptions::default();
    // Frontends say it when there are too many, and can only if they are asked.
    let connections_max = defaults.connections_max.max(config.max_connections.saturating_mul(2));
    GatewayOptions { connections_max, ..defaults }
}

/// Tells people on stderr and programs on stdout that SQL is served.
fn announce(config: &Config, address: SocketAddr, admin_address: Option<SocketAddr>, started: Instant) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        %address,
        admin = admin_address.map(|address| format!("http://{address}")),
        started_in = ?started.elapsed(),
        "serving"
    );
    // Whoever started the server may not read its output, which is no reason not to serve.
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "ready: postgresql://postgres@{}/postgres", reachable(address));
    let _ = stdout.flush();
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

async fn listen(address: &str, insecure: bool) -> Result<TcpListener, CommandError> {
    let failed = |error| CommandError::Listen { address: address.to_owned(), error };
    let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(failed)?.collect();
    if let Some(exposed) = resolved.iter().find(|address| !address.ip().is_loopback())
        && !insecure
    {
        return Err(CommandError::Exposed(exposed.to_string()));
    }
    let first = resolved.first().copied();
    let first = first.ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    Frontend::<Backend>::bind(first).map_err(failed)
}

fn collect_metrics(
    admin: &Admin,
    gateway: &Gateway,
    serving: &Arc<Serving>,
    instance: &Instance,
    started: Instant,
) {
    let (gateway, serving, node) = (gateway.clone(), Arc::clone(serving), instance.observer());
    admin.set_metrics(move || {
        let mut samples = metrics::of_process(started);
        samples.extend(metrics::of_gateway(gateway.metrics()));
        samples.extend(serving.samples());
        samples.extend(node.samples());
        samples
    });
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, CommandError> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(CommandError::System)?,
            interrupt: signal(SignalKind::interrupt()).map_err(CommandError::System)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
