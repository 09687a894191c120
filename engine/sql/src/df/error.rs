//! Errors across the border: ours travel through DataFusion unchanged, its own become SQL errors.

use datafusion::common::DataFusionError;
use shardforge_types::{PgError, SqlState};

/// Wraps a SQL error for the way through DataFusion.
pub fn to_df(error: PgError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A DataFusion error as a SQL error; one of ours comes out as it went in.
#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
pub fn from_df(error: DataFusionError) -> PgError {
    let root = error.find_root();
    if let DataFusionError::External(inner) = root
        && let Some(ours) = inner.downcast_ref::<PgError>()
    {
        return ours.clone();
    }
    match root {
        DataFusionError::ResourcesExhausted(message) => {
            PgError::new(SqlState::OUT_OF_MEMORY, "out of memory")
                .detail(format!("The memory for queries is used up: {message}"))
                .hint("Raise query_memory, or make the query touch fewer rows.")
        }
        other => PgError::internal(format!("query engine: {other}")),
    }
}
