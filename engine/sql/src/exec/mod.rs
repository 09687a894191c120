//! Evaluation of expressions.
//!
//! * [`env`]: what an expression may see of the session that runs it.
//! * [`eval`]: scalar expressions compiled to a tree that is evaluated row by row.

pub mod env;
pub mod eval;
