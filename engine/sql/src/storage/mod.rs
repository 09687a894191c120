//! How tables and indexes lie in the key-value store, and how their rows are found and changed.
//!
//! ```text
//!   row          10 | storage id [| bucket] | primary key columns, or a hidden row id   ->  all columns (codec::row)
//!   index entry  10 | storage id [| bucket] | index columns [| row key]                 ->  [bucket |] row key
//! ```
//!
//! Keys are memcomparable, so a range of the table is a range of keys. An entry of a unique index whose
//! columns are all present carries the row key in its value alone: two rows with equal columns would be
//! one key, which is how uniqueness is checked. All other entries end with the row key, those of a deferrable
//! unique constraint among them: its rows may be equal for a while.
//!
//! * [`TableLayout`]: a table's columns, keys, indexes and checks, compiled for execution.
//! * [`AccessPath`]: which keys or which range of which index a filter selects.
//! * [`KeyHead`]: what keys begin with, and the hash buckets that they may be spread over.
//! * [`TableScan`]: walks an access path.
//! * [`TableWriter`]: inserts, updates and deletes rows with their index entries, and enforces constraints.
//! * [`Stored`]: a table or an index as a range of keys, which shards divide.
//! * [`AfterQueue`]: what has to be looked at once the statement has written all its rows.

mod access;
mod boundary;
mod bulk;
mod check;
mod describe;
mod events;
mod head;
mod layout;
mod merge;
mod scan;
mod write;

pub use access::{
    AccessPath, Bound, Converted, KeySpan, KeyValue, choose, comparison_strategy, convert, order_of,
};
pub use boundary::Stored;
pub use bulk::FailedRow;
pub use check::{key_text, schema_name, value_text};
pub use describe::describe_key;
pub use events::{AfterQueue, RowChange, RowEvent, Watch};
pub use head::{KeyHead, Spread};
pub use layout::{IndexLayout, KeyPart, KeySource, StoredRow, TableLayout};
pub use scan::{ScanRow, TableScan, entry_value};
pub use write::{InsertOutcome, TableWriter, duplicate_key};

use crate::catalog::StorageId;

/// First byte of every key of user data.
pub const DATA_TAG: u8 = 0x10;

/// Length of what precedes the key columns.
pub const PREFIX_LEN: usize = 5;

/// What every key of an index or table begins with.
pub fn prefix(storage: StorageId) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = storage.0.to_be_bytes();
    [DATA_TAG, a, b, c, d]
}

/// What a key is stored under; `None` if it is not of user data.
pub fn storage_of(key: &[u8]) -> Option<StorageId> {
    match key {
        [DATA_TAG, a, b, c, d, ..] => Some(StorageId(u32::from_be_bytes([*a, *b, *c, *d]))),
        _ => None,
    }
}

/// The key range `[start, end)` of all that is stored under an id.
pub fn whole_range(storage: StorageId) -> (bytes::Bytes, bytes::Bytes) {
    (
        bytes::Bytes::copy_from_slice(&prefix(storage)),
        bytes::Bytes::copy_from_slice(&prefix(StorageId(storage.0 + 1))),
    )
}
