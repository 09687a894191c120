//! What the whole-system tests are made of. See the crate's README.

pub mod isolation;
pub mod kill;
pub mod server;
