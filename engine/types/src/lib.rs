//! PostgreSQL's types: values, their text and binary forms, their order, and how they are stored.
//!
//! This crate knows what PostgreSQL's manual calls data types, and nothing else: no catalog, no sessions, no
//! storage. Everything is a pure function of its arguments; what PostgreSQL reads from session settings arrives
//! as an [`IoEnv`].
//!
//! - A value is a [`Datum`]; its type is an [`Oid`] that the plan knows.
//! - [`input`], [`output`], [`recv`] and [`send`] convert to and from the protocol's text and binary forms, with
//!   PostgreSQL's errors ([`PgError`]).
//! - [`apply_typmod`] makes a value fit `varchar(n)`, `numeric(p,s)`, ...
//! - [`compare`] has the order and the hash of each type.
//! - [`codec`] has the stored forms: keys whose byte order is the value order, and rows whose columns are read
//!   one at a time, straight to the wire.
//! - [`numeric`] and [`datetime`] are the arithmetic that PostgreSQL's functions over those types need.

pub mod codec;
pub mod compare;
pub mod datetime;
pub mod datum;
pub mod env;
pub mod error;
pub mod format;
pub mod io;
pub mod numeric;
pub mod oid;
pub mod sqlstate;
pub mod typeinfo;
pub mod typmod;

pub use datum::{ArrayDim, ArrayValue, Datum, Interval, RecordValue, TimeTz};
pub use env::{ByteaOutput, DateOrder, DateStyle, IntervalStyle, IoEnv};
pub use error::{PgError, PgErrorFields, PgResult, Severity};
pub use io::{input, output, recv, send};
pub use numeric::Numeric;
pub use oid::Oid;
pub use sqlstate::SqlState;
pub use typeinfo::{TYPES, TypeInfo, array_type, element_type, type_name};
pub use typmod::apply_typmod;
