//! Tests of the protocol as a client sees it: bytes in, bytes out.
//!
//! `scripts/*.script` hold conversations and what the server must answer; see [`script`] for their
//! language. They run over pipes in one thread, so that "the server has nothing more to say" is exact.
//! [`pressure`] watches the writes, [`fuzz`] sends damaged conversations; [`clients`] connects a real driver over
//! TCP.

mod backend;
mod client;
mod clients;
mod fuzz;
mod gateway;
mod golden;
mod pressure;
mod script;
mod shutdown;
mod wire;
