//! Plans: how a bound statement runs.
//!
//! [`Planner`] asks [`single`] whether a query reads one table in an order that an access path has; such a
//! query becomes a [`FastSelect`]. Everything else is lowered to DataFusion by [`crate::df`]. Writes are a
//! [`ModifyPlan`] over a query of either kind.

pub mod context;
pub mod fast;
mod hoist;
mod locking;
pub mod modify;
mod planner;
pub mod query;
mod rows;
pub mod single;
pub mod sink;

pub use context::{ExecContext, Progress, WrittenRows};
pub use fast::FastSelect;
pub use locking::{LockedRow, lock_row};
pub use modify::{ModifyPlan, ModifyResult};
pub use planner::{Planned, PlannedKind, Planner};
pub use query::{QueryCursor, QueryPlan};
pub use rows::{KeySet, RowBuffer};
pub use sink::{Collect, Discard, Field, OutputRow, RowSink};
