//! What the whole-system tests are made of. See the crate's README.

pub mod cluster;
pub mod doors;
mod faults;
pub mod growth;
pub mod isolation;
pub mod kill;
pub mod load;
pub mod network;
mod ports;
mod process;
mod replicas;
pub mod server;
mod shim;
mod surroundings;
pub mod violation;
