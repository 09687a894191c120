//! Who may connect, and how they prove it.
//!
//! A backend answers with an [`AuthMethod`]. [`AuthMethod::for_role`] holds the usual policy: a role with a
//! password proves it with SCRAM-SHA-256; a role without one is trusted from this machine, and from
//! elsewhere only by a server that was started with `--insecure`. What a client learns from a failure is
//! the same whether the role is unknown, has no password or was given a wrong one.

mod scram;

use std::net::IpAddr;

use shardforge_types::PgError;

pub(crate) use scram::ScramExchange;
pub use scram::ScramVerifier;

/// How a client must prove who it is.
#[derive(Debug, Clone)]
pub enum AuthMethod {
    /// Not at all.
    Trust,
    /// With the password that belongs to this verifier.
    Scram(ScramVerifier),
    /// It will not succeed, but looks as if it could: the role is unknown or has no password.
    ScramUnknown,
    /// It is turned away with this error (sent as FATAL).
    Reject(PgError),
}

impl AuthMethod {
    /// The usual policy, see the module's documentation. `role` is `None` if there is no such role, otherwise
    /// its password's verifier, if it has one. `trust_all` is `--insecure`.
    pub fn for_role(role: Option<Option<ScramVerifier>>, peer: IpAddr, trust_all: bool) -> AuthMethod {
        match role {
            Some(Some(verifier)) => AuthMethod::Scram(verifier),
            // That the role does not exist is said by `connect`, as PostgreSQL does with trust.
            Some(None) | None if trust_all || peer.to_canonical().is_loopback() => AuthMethod::Trust,
            Some(None) | None => AuthMethod::ScramUnknown,
        }
    }
}
