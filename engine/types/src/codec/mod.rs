//! The stored forms of values. `docs/architecture/encoding.md` is their specification.
//!
//! - [`key`]: bytes whose order (memcmp) is the order of the values; for the keys of tables and indexes.
//! - [`row`]: a row's values with a table of offsets, each value in its type's binary wire form; for what the keys
//!   map to. A column goes from storage to a client without becoming a [`crate::Datum`] on the way.

pub mod key;
pub mod row;
