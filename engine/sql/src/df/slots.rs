//! What a physical plan reads at run time: the transaction, the parameters, the environment.
//!
//! A physical plan is made once and run many times, also for different sessions. Its scans and expressions
//! reach the running statement through a [`Slots`] that the plan instance owns; whoever runs the instance
//! puts the statement's context in first. An instance serves one execution at a time.
//!
//! A correlated subquery is a plan of its own with slots of its own: its parameters are those of the statement
//! followed by the values of the outer row.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use shardforge_types::{PgError, PgResult};

use super::ctes::CteRows;
use crate::plan::ExecContext;

/// See the module's documentation.
#[derive(Default)]
pub struct Slots {
    context: RwLock<Option<Arc<ExecContext>>>,
    generation: AtomicU64,
    /// Rows that the plan keeps while it runs. Weak, because what computes them reaches these slots.
    kept: Mutex<Vec<Weak<CteRows>>>,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slots")
    }
}

impl Slots {
    /// Puts the context of the next execution in.
    pub fn set(&self, context: Arc<ExecContext>) {
        *self.context.write() = Some(context);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Which execution this is: differs from one to the next.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Names rows that are forgotten with the context.
    pub fn keep(&self, rows: &Arc<CteRows>) {
        self.kept.lock().push(Arc::downgrade(rows));
    }

    /// Forgets the context, and with it the transaction.
    pub fn clear(&self) {
        *self.context.write() = None;
        self.kept.lock().iter().filter_map(Weak::upgrade).for_each(|rows| rows.forget());
    }

    /// The context of the running execution.
    ///
    /// # Errors
    /// XX000 outside an execution.
    pub fn get(&self) -> PgResult<Arc<ExecContext>> {
        self.context.read().clone().ok_or_else(|| PgError::internal("a plan runs without context"))
    }
}
