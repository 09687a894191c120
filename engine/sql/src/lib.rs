//! Parse, bind, plan and execute SQL as PostgreSQL 18 does: see the README of this crate.

pub mod bind;
pub mod catalog;
pub mod cluster;
pub mod ddl;
pub mod df;
pub mod engine;
pub mod exec;
pub mod func;
pub mod ir;
mod limits;
mod notify;
pub mod parse;
pub mod plan;
pub mod ri;
pub mod session;
pub mod storage;
