//! Whole-system tests: the real binary, over its port, on a real disk.

mod crash;
mod server;
mod sql;
