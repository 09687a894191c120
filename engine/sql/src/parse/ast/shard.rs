//! Statements about shards.

use super::RangeVar;

/// `SHOW SHARDS [FROM TABLE t | FROM INDEX i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShowShardsStmt {
    /// Whose; absent: all.
    pub from: Option<ShardsOf>,
}

/// What SHOW SHARDS is asked about.
#[derive(Debug, Clone, PartialEq)]
pub enum ShardsOf {
    /// The rows of a table.
    Table(RangeVar),
    /// An index.
    Index(RangeVar),
}
