//! Whole-system tests: the real binary, over its port, on a real disk.

mod crash;
mod plans;
mod server;
mod sql;
