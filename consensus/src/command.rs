//! What a shard is asked to do: a list of writes, and the term in which they hold.
//!
//! This crate does not know what the keys and values mean. A command is carried out whole or not at all, in
//! the order of the raft log, on every replica alike.

use bytes::Bytes;

/// Writes to one shard, carried out atomically.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command {
    /// Carry it out only if the shard's term is still this one when the entry is proposed: a leader's locks
    /// die with its term.
    pub expected_term: Option<u64>,
    /// Ranges to clear, from the first key to before the second; done before the puts and deletes.
    pub delete_ranges: Vec<(Bytes, Bytes)>,
    /// Keys to remove.
    pub deletes: Vec<Bytes>,
    /// Keys to set. A key is put or deleted once in a command, not both.
    pub puts: Vec<(Bytes, Bytes)>,
}

/// Where a command was carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The index of its raft entry. Several commands may share one entry.
    pub index: u64,
    /// The term of its raft entry.
    pub term: u64,
}
