//! A planned query of either kind, and its cursor.

use std::sync::Arc;

use shardforge_types::{Oid, PgResult};

use super::context::{ExecContext, Progress};
use super::fast::{FastCursor, FastSelect};
use super::rows::RowBuffer;
use super::sink::RowSink;
use crate::df::{DfCursor, DfPlan};

/// A planned query.
#[derive(Clone)]
pub enum QueryPlan {
    /// Runs on the fast path.
    Fast(Arc<FastSelect>),
    /// Runs in DataFusion; and why it is not on the fast path.
    DataFusion(Arc<DfPlan>, &'static str),
}

/// A query being run.
pub enum QueryCursor {
    /// On the fast path.
    Fast(FastCursor),
    /// In DataFusion.
    DataFusion(Box<DfCursor>),
    /// Rows that are there already.
    Rows(RowBuffer),
}

impl QueryPlan {
    /// Types of the output columns.
    pub fn types(&self) -> Arc<[Oid]> {
        match self {
            QueryPlan::Fast(plan) => plan.types.clone(),
            QueryPlan::DataFusion(plan, _) => plan.types(),
        }
    }
}

impl QueryPlan {
    /// True if a cursor over it may move backward without having asked for it: PostgreSQL allows that where the
    /// plan's nodes can run backward, which is where running again yields the same rows in the same order.
    pub fn can_go_back(&self) -> bool {
        match self {
            QueryPlan::Fast(plan) => plan.can_go_back(),
            QueryPlan::DataFusion(plan, _) => plan.can_go_back(),
        }
    }

    /// The plan as EXPLAIN shows it: which path it takes, and why.
    pub fn explain(&self, verbose: bool) -> Vec<String> {
        match self {
            QueryPlan::Fast(plan) => plan.explain(),
            QueryPlan::DataFusion(plan, reason) => {
                let mut lines = vec![format!("DataFusion (not a fast plan: {reason})")];
                lines.extend(plan.explain(verbose).into_iter().map(|line| format!("  {line}")));
                lines
            }
        }
    }
}

impl QueryCursor {
    /// Starts a query.
    ///
    /// # Errors
    /// What its parameters' expressions raise.
    pub async fn start(plan: &QueryPlan, cx: &ExecContext) -> PgResult<QueryCursor> {
        Ok(match plan {
            QueryPlan::Fast(plan) => QueryCursor::Fast(FastCursor::start(plan.clone(), cx)?),
            // Boxed, here and below: the future of a point read should not have room for all of DataFusion.
            QueryPlan::DataFusion(plan, _) => {
                QueryCursor::DataFusion(Box::new(Box::pin(DfCursor::start(plan, cx)).await?))
            }
        })
    }

    /// Sends up to `max` rows, or fewer, without being done: then the caller lets the connection drain and
    /// calls again.
    ///
    /// # Errors
    /// What the query raises.
    pub async fn fetch(
        &mut self,
        cx: &ExecContext,
        max: usize,
        sink: &mut dyn RowSink,
    ) -> PgResult<Progress> {
        match self {
            QueryCursor::Fast(cursor) => cursor.fetch(cx, max, sink).await,
            QueryCursor::DataFusion(cursor) => Box::pin(cursor.fetch(cx, max, sink)).await,
            QueryCursor::Rows(rows) => {
                let count = rows.len().min(max).min(ROWS_AT_ONCE);
                for row in std::iter::from_fn(|| rows.pop_front()).take(count) {
                    sink.row(&row)?;
                }
                Ok(Progress { rows: count, done: rows.is_empty() })
            }
        }
    }
}

/// Rows sent before the connection may drain.
const ROWS_AT_ONCE: usize = 1024;
