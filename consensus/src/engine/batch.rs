//! A list of writes that an engine carries out atomically.

use bytes::Bytes;

/// One write of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Sets a key's value.
    Put(Bytes, Bytes),
    /// Removes a key, if it is there.
    Delete(Bytes),
    /// Removes all keys from the first to before the second.
    DeleteRange(Bytes, Bytes),
}

impl Operation {
    /// The key that it sets or removes, or the first of them.
    #[must_use]
    pub fn first_key(&self) -> &Bytes {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::DeleteRange(key, _) => key,
        }
    }
}

/// Writes in order; a later one wins over an earlier one on the same key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteBatch {
    operations: Vec<Operation>,
    size_bytes: usize,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key's value.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.size_bytes += key.len() + value.len();
        self.operations.push(Operation::Put(key, value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        let key = key.into();
        self.size_bytes += key.len();
        self.operations.push(Operation::Delete(key));
    }

    /// Removes all keys from `start` to before `end`.
    pub fn delete_range(&mut self, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        let (start, end) = (start.into(), end.into());
        self.size_bytes += start.len() + end.len();
        self.operations.push(Operation::DeleteRange(start, end));
    }

    /// Adds another batch's writes after these.
    pub fn append(&mut self, mut other: Self) {
        self.size_bytes += other.size_bytes;
        self.operations.append(&mut other.operations);
    }

    /// The writes, in order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The bytes of its keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}
