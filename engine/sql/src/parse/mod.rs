//! From text to the raw tree.

pub mod ast;
