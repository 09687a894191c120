//! The PostgreSQL wire protocol: connections, authentication, messages.
//!
//! This crate turns a socket into calls on a [`Session`], and what the session answers into bytes. It
//! knows the protocol (startup, authentication, simple and extended queries, pipelines, COPY, cancel,
//! errors) and nothing about SQL: no plans, no catalogs, no values.
//!
//! ```text
//!   socket ──> transport ──> message ──> connection ──> Session   (engine/sql implements it)
//!   socket <── transport <── Responder <──────────────────┘
//! ```
//!
//! In a cluster a [`Gateway`] brings each connection to the node whose [`Frontend`] serves it; the README shows how the
//! two are used.
//!
//! Invariants
//! - A connection owns one input and one output buffer; both are bounded, and the announced length of a
//!   message never decides how much is allocated.
//! - The output buffer is written once per pipeline (at Sync, at Flush, or when it is full), never once
//!   per message.
//! - Bytes from the network never cause a panic; a panic of a session ends that connection alone.
//! - After an error in the extended protocol nothing is executed until the next Sync.

mod accept;
pub mod auth;
mod backend;
mod cancel;
mod connection;
mod copy;
mod doors;
mod encode;
mod extended;
mod fair;
mod forward;
mod frontend;
mod gateway;
pub mod limits;
mod message;
mod metrics;
mod params;
mod registry;
mod responder;
mod startup;
mod transport;

pub use auth::{AuthMethod, ScramVerifier};
pub use backend::{
    Backend, FieldDesc, Format, IdleTimeout, Notification, Session, Startup, StatementDescription,
    TransactionStatus, result_format,
};
pub use cancel::{CancelReason, CancelToken, ConnectionState};
pub use frontend::{Frontend, FrontendOptions, Serve, Service};
pub use gateway::{Dial, Gateway, GatewayMetrics, GatewayOptions, Route};
pub use metrics::Metrics;
pub use params::{RawParam, RawParams, RawParamsIter};
pub use registry::{ConnectionInfo, ConnectionRegistry};
pub use responder::{Responder, RowWriter};
pub use transport::Stream;

#[cfg(test)]
mod tests;
