//! How wide things may be: PostgreSQL's limits, and one of ours. The protocol and the stored forms count columns in 16 bits.

use std::time::Duration;

use shardforge_types::{PgError, PgResult, SqlState};

/// Columns of a table or view, dropped ones included (`MaxHeapAttributeNumber`).
const COLUMNS_MAX: usize = 1_600;

/// Entries of a select list or of a row (`MaxTupleAttributeNumber`).
const TARGETS_MAX: usize = 1_664;

/// Arguments of a function (`FUNC_MAX_ARGS`).
const ARGUMENTS_MAX: usize = 100;

/// Columns of an index, included ones counted (`INDEX_MAX_KEYS`).
const INDEX_COLUMNS_MAX: usize = 32;

/// Places at which one statement splits shards. A node runs a raft group for each.
const SPLITS_MAX: usize = 1_000;

/// How long a join token is valid if nothing is said.
pub const JOIN_TOKEN_VALID_DEFAULT: Duration = Duration::from_secs(3_600);

/// How long it may be valid.
pub const JOIN_TOKEN_VALID_MAX: Duration = Duration::from_secs(30 * 86_400);

fn too_many(count: usize, max: usize, message: &str) -> PgResult<()> {
    if count <= max { Ok(()) } else { Err(PgError::new(SqlState::TOO_MANY_COLUMNS, message)) }
}

/// 54011 if a table or view would have so many columns.
pub fn check_columns(count: usize) -> PgResult<()> {
    too_many(count, COLUMNS_MAX, "tables can have at most 1600 columns")
}

/// 54011 if a select list has so many entries.
pub fn check_targets(count: usize) -> PgResult<()> {
    too_many(count, TARGETS_MAX, "target lists can have at most 1664 entries")
}

/// 54011 if a row constructor has so many entries.
pub fn check_row(count: usize) -> PgResult<()> {
    too_many(count, TARGETS_MAX, "ROW expressions can have at most 1664 entries")
}

/// 54011 if an index would have so many columns.
pub fn check_index_columns(count: usize) -> PgResult<()> {
    too_many(count, INDEX_COLUMNS_MAX, "cannot use more than 32 columns in an index")
}

/// 54011 if a foreign key would have so many columns.
pub fn check_foreign_key_columns(count: usize) -> PgResult<()> {
    too_many(count, INDEX_COLUMNS_MAX, "cannot have more than 32 keys in a foreign key")
}

/// 54023 if a function is called with so many arguments.
pub fn check_arguments(count: usize) -> PgResult<()> {
    if count <= ARGUMENTS_MAX {
        return Ok(());
    }
    let message = "cannot pass more than 100 arguments to a function";
    Err(PgError::new(SqlState::TOO_MANY_ARGUMENTS, message))
}

/// 54000 if one statement splits at so many places.
pub fn check_splits(count: usize) -> PgResult<()> {
    if count <= SPLITS_MAX {
        return Ok(());
    }
    let message = "cannot split at more than 1000 places in one statement";
    Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message))
}
