//! The typed intermediate representation between the binder and the executors.
//!
//! The binder resolves every name, overload and cast; what it yields is a tree of relations
//! ([`Rel`]) whose columns are addressed by [`ColId`], unique within one statement, and of scalars
//! ([`Scalar`]), each with its PostgreSQL type. Nothing below the binder looks at names again.
//!
//! ```text
//!   parse::ast  --bind-->  ir::Statement  --+--> plan::fast   points, short ranges, writes by key
//!                                           +--> df           everything else, as a DataFusion plan
//! ```
//!
//! Invariants:
//! * A `ColId` is produced by exactly one relation node of the statement. A scalar may use the ids
//!   that its input produces, and, inside a subquery or the right side of a lateral join, ids of
//!   the enclosing relations: that is what correlation is here, there is no "outer level".
//! * Every implicit cast of PostgreSQL is explicit here, as a [`ScalarKind::Call`],
//!   [`ScalarKind::IoCast`] or [`ScalarKind::Relabel`].
//! * Parameters and stable functions are evaluated at execution, never folded into the tree.

mod rel;
mod scalar;
mod stmt;
mod walk;

pub use rel::*;
pub use scalar::*;
pub use stmt::*;
