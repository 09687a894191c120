//! Parse, bind, plan and execute SQL as PostgreSQL 18 does: see the README of this crate.

pub mod bind;
pub mod catalog;
pub mod exec;
pub mod func;
pub mod ir;
pub mod parse;
