//! What a running statement has at hand.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{IsolationLevel, Transaction, Visibility, WaitPolicy};
use shardforge_types::{Datum, PgError, PgResult};

use super::rows::RowBuffer;
use crate::engine::Engine;
use crate::exec::env::EvalEnv;
use crate::ir::CteId;
use crate::ri::Deferred;
use crate::storage::{AccessPath, AfterQueue, TableLayout, TableScan};

/// What the data-modifying statements of a WITH returned.
pub type WrittenRows = HashMap<CteId, Arc<RowBuffer>>;

/// The surroundings of a running statement. Cheap to clone.
#[derive(Clone)]
pub struct ExecContext {
    /// The server.
    pub engine: Arc<Engine>,
    /// The transaction.
    pub txn: Arc<Transaction>,
    /// Its isolation level.
    pub isolation: IsolationLevel,
    /// What scans see.
    pub visibility: Visibility,
    /// Values of `$1`, `$2`, ...
    pub params: Arc<[Datum]>,
    /// For expressions.
    pub env: EvalEnv,
    /// How long to wait for row locks.
    pub wait: WaitPolicy,
    /// RETURNING of the statement's own WITH, as far as it has run.
    pub written: Arc<WrittenRows>,
    /// What has to be looked at when the statement has written all its rows.
    pub after: Arc<AfterQueue>,
    /// What the transaction looks at later still.
    pub deferred: Arc<Mutex<Deferred>>,
}

impl ExecContext {
    /// Begins to walk an access path.
    ///
    /// # Errors
    /// What the path's values raise; XX000 if its index is younger than what the statement sees, which the planner
    /// was to keep in mind.
    pub fn scan(&self, layout: &Arc<TableLayout>, path: &AccessPath, reverse: bool) -> PgResult<TableScan> {
        if let Some(index) = path.index {
            let read_ts = match self.visibility {
                Visibility::At(snapshot) => Some(snapshot.read_ts),
                Visibility::Statement | Visibility::Current => Some(self.txn.snapshot().read_ts),
                Visibility::Latest => None,
            };
            if let Some(read_ts) = read_ts {
                let index = layout.index_desc(&layout.indexes[index]);
                if !self.engine.is_readable_at(index, read_ts) {
                    let message = format!("index \"{}\" is younger than the snapshot", index.name);
                    return Err(PgError::internal(message));
                }
            }
        }
        TableScan::start(layout, path, reverse, self.visibility, &self.params, &self.env)
    }
}

/// How far a fetch came.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows sent.
    pub rows: usize,
    /// No more rows follow.
    pub done: bool,
}
