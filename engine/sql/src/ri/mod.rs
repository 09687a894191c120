//! Referential integrity: foreign keys, and what is checked when a statement, or the transaction, ends; deferrable
//! unique constraints among it.
//!
//! PostgreSQL implements foreign keys by triggers that fire after the statement (`ri_triggers.c`), and so it is
//! here. Whoever writes rows notes events ([`crate::storage::AfterQueue`]); [`after_statement`] takes them out in rounds:
//!
//! ```text
//!   write rows --> AfterQueue --+--> now: a round
//!                     ^         |      referencing rows: is the key there? lock it KEY SHARE     check.rs
//!                     |         |      referenced keys gone: who references them?               action.rs
//!                     |         |      entries of deferrable unique constraints: alone?         unique.rs
//!                     +---------|------  CASCADE, SET NULL, SET DEFAULT write rows themselves
//!                               +--> deferred: kept for COMMIT or SET CONSTRAINTS               deferred.rs
//! ```
//!
//! A round handles all events of one constraint together, so that a key is looked at once however often it was
//! written, and a referencing table without a suitable index is read once for all keys that are gone. Of several
//! violations, the one that came first in the statement is raised.
//!
//! **Locks.** A row that references another takes KEY SHARE on it, which goes with everything but its deletion and a
//! change of its key: inserts that reference one row do not wait for each other, nor for updates of its other columns.
//! Who deletes the row waits for them, and then sees what they have inserted, because it looks at what is
//! committed at that moment rather than at its snapshot. A row that it finds there it locks KEY SHARE, too: if somebody is
//! just deleting that one, it waits for what becomes of it. Under REPEATABLE READ and SERIALIZABLE a referenced row
//! must be in the snapshot as well, and a referencing row to be changed must not be newer than it.

mod action;
mod check;
mod deferred;
mod error;
mod relationship;
mod round;
mod unique;

pub use check::validate;
pub use deferred::{Deferred, DeferredMark};
pub use relationship::key_cast;
pub use round::{after_statement, at_commit, during_statement, set_constraints};
