//! A transaction's writes before its commit.
//!
//! For each key the buffer keeps what was written by which command, oldest first, because reads ask for the
//! state before a command (a statement does not see its own writes, a cursor stays at its snapshot) and
//! because ROLLBACK TO goes back to the state before a command:
//!
//! ```text
//!   "k" -> [(command 2, "a"), (command 5, deleted), (command 9, "b")]
//! ```
//!
//! A savepoint is a command number too: taking one starts a new command, so that what follows can be told
//! from what went before.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Range};
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::limits::{BUFFERED_VERSIONS_BEFORE_PRUNE, BUFFERED_WRITE_OVERHEAD_BYTES};

/// What one command left of a key; no value: deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BufferedWrite {
    pub(crate) command: u32,
    pub(crate) value: Option<Bytes>,
}

type Writes = SmallVec<[BufferedWrite; 1]>;

/// See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    keys: BTreeMap<Bytes, Writes>,
    size_bytes: usize,
    /// No write is of an earlier command.
    first_command: Option<u32>,
    /// No key has more writes.
    depth: usize,
    /// Keys in the order they were written, as long as a savepoint may want to undo them.
    journal: Option<Vec<(u32, Bytes)>>,
}

fn size_of(key_bytes: usize, value: Option<&Bytes>) -> usize {
    BUFFERED_WRITE_OVERHEAD_BYTES + key_bytes + value.map_or(0, Bytes::len)
}

/// The newest of the writes that commands below `command` made.
fn visible(writes: &Writes, command: u32) -> Option<&BufferedWrite> {
    writes.iter().rev().find(|write| write.command < command)
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of keys, values and bookkeeping.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Records a write of `command`. `boundaries` are the commands, in rising order, before which somebody may
    /// still want to look: writes between two of them are of no use. Returns the key if that brings back what was deleted.
    pub(crate) fn write(
        &mut self,
        key: Bytes,
        value: Option<Bytes>,
        command: u32,
        boundaries: &[u32],
    ) -> Option<Bytes> {
        let key_bytes = key.len();
        self.size_bytes += size_of(key_bytes, value.as_ref());
        self.first_command.get_or_insert(command);
        if let Some(journal) = &mut self.journal
            && journal.last().is_none_or(|(last, written)| (*last, written) != (command, &key))
        {
            self.size_bytes += key.len();
            journal.push((command, key.clone()));
        }
        let write = BufferedWrite { command, value };
        let is_value = write.value.is_some();
        let (back, writes) = match self.keys.entry(key) {
            Entry::Occupied(entry) => {
                let is_deleted = entry.get().last().is_some_and(|last| last.value.is_none());
                ((is_deleted && is_value).then(|| entry.key().clone()), entry.into_mut())
            }
            Entry::Vacant(entry) => {
                entry.insert(smallvec![write]);
                self.depth = self.depth.max(1);
                return None;
            }
        };
        let last = writes.last_mut().expect("a buffered key has writes");
        if last.command == command {
            self.size_bytes -= size_of(key_bytes, last.value.as_ref());
            *last = write;
            return back;
        }
        writes.push(write);
        self.depth = self.depth.max(writes.len());
        if writes.len() > BUFFERED_VERSIONS_BEFORE_PRUNE {
            let mut index = 0;
            while index + 1 < writes.len() {
                let wanted = boundaries.iter().any(|&boundary| {
                    writes[index].command < boundary && boundary <= writes[index + 1].command
                });
                if wanted {
                    index += 1;
                } else {
                    self.size_bytes -= size_of(key_bytes, writes[index].value.as_ref());
                    writes.remove(index);
                }
            }
        }
        back
    }

    /// What commands below `command` last wrote to `key`; the inner `None` is a deletion.
    pub(crate) fn get(&self, key: &[u8], command: u32) -> Option<&Option<Bytes>> {
        visible(self.keys.get(key)?, command).map(|write| &write.value)
    }

    /// Whether none of these keys, in whatever order, is written. Tells at once of keys that all lie outside of what is
    /// written.
    pub(crate) fn is_disjoint<'a>(&self, keys: impl Iterator<Item = &'a Bytes> + Clone) -> bool {
        let (Some(first), Some(last)) = (keys.clone().min(), keys.max()) else { return true };
        self.keys.range::<Bytes, _>(first..=last).next().is_none()
    }

    /// Keys from `start` to before `end` with what commands below `command` last wrote to them.
    pub(crate) fn range(
        &self,
        start: &[u8],
        end: &[u8],
        command: u32,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Bytes>)> {
        let (start, end) = if start < end { (start, end) } else { (start, start) };
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        // A range of the map panics when both bounds exclude the same key, not when it is empty like this.
        self.keys
            .range::<[u8], _>(bounds)
            .filter_map(move |(key, writes)| Some((key, &visible(writes, command)?.value)))
    }

    /// Starts to keep what ROLLBACK TO needs.
    pub(crate) fn start_journal(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// No savepoint is left.
    pub(crate) fn end_journal(&mut self) {
        for (_, key) in self.journal.take().unwrap_or_default() {
            self.size_bytes -= key.len();
        }
    }

    /// Undoes the writes of `command` and later ones.
    pub(crate) fn undo_from(&mut self, command: u32) {
        let Some(journal) = &mut self.journal else { return };
        while let Some((_, key)) = journal.pop_if(|(written, _)| *written >= command) {
            self.size_bytes -= key.len();
            let Some(writes) = self.keys.get_mut(&key) else { continue };
            while let Some(write) = writes.last().filter(|write| write.command >= command) {
                self.size_bytes -= size_of(key.len(), write.value.as_ref());
                writes.pop();
            }
            if writes.is_empty() {
                self.keys.remove(&key);
            }
        }
    }

    /// The writes from a key on, by key and then by command.
    pub(crate) fn iter_from(&self, start: &[u8]) -> impl Iterator<Item = (&Bytes, &[BufferedWrite])> {
        let bounds = (Bound::Included(start), Bound::Unbounded);
        self.keys.range::<[u8], _>(bounds).map(|(key, writes)| (key, writes.as_slice()))
    }

    /// How many writes a key has at most.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether a command below `command` may have written something.
    pub(crate) fn has_before(&self, command: u32) -> bool {
        self.first_command.is_some_and(|first| first < command)
    }

    /// For looking up many keys.
    pub(crate) fn finder(&self) -> Finder<'_> {
        Finder { keys: &self.keys, ahead: self.keys.range::<Bytes, _>(..).peekable() }
    }

    /// The outcome: each key with what was last written to it, in the order of the keys.
    pub(crate) fn into_final(self) -> Vec<(Bytes, Option<Bytes>)> {
        let last = |mut writes: Writes| writes.pop().and_then(|write| write.value);
        self.keys.into_iter().map(|(key, writes)| (key, last(writes))).collect()
    }

    /// Hands out all writes, which are looked after elsewhere from now on.
    pub(crate) fn take(&mut self) -> Self {
        let journal = self.journal.take().map(|_| Vec::new());
        std::mem::replace(self, Self { journal, ..Self::default() })
    }
}

/// Looks keys up in a buffer; keys that come in the buffer's order cost a step each.
pub(crate) struct Finder<'a> {
    keys: &'a BTreeMap<Bytes, Writes>,
    ahead: Peekable<Range<'a, Bytes, Writes>>,
}

impl<'a> Finder<'a> {
    /// The writes of a key, in the order of their commands.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<&'a [BufferedWrite]> {
        if self.ahead.peek().is_none_or(|(next, _)| next[..] != *key) {
            let bounds = (Bound::Included(key), Bound::Unbounded);
            self.ahead = self.keys.range::<[u8], _>(bounds).peekable();
        }
        self.ahead.next_if(|(next, _)| next[..] == *key).map(|(_, writes)| writes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn key(value: &'static str) -> Bytes {
        Bytes::from_static(value.as_bytes())
    }

    #[test]
    fn a_command_sees_what_earlier_ones_wrote() {
        let mut buffer = WriteBuffer::default();
        buffer.write(key("a"), text("1"), 1, &[]);
        buffer.write(key("a"), None, 2, &[]);
        buffer.write(key("a"), text("3"), 2, &[]);
        buffer.write(key("b"), None, 3, &[]);
        assert_eq!(buffer.get(b"a", 1), None);
        assert_eq!(buffer.get(b"a", 2), Some(&text("1")));
        assert_eq!(buffer.get(b"a", 3), Some(&text("3")));
        let seen: Vec<_> = buffer.range(b"a", b"z", 4).collect();
        assert_eq!(seen, [(&key("a"), &text("3")), (&key("b"), &None)]);
        assert_eq!(buffer.range(b"z", b"a", 4).count(), 0);
        assert_eq!(buffer.into_final(), [(key("a"), text("3")), (key("b"), None)]);
    }

    #[test]
    fn undo_goes_back_to_the_savepoint_and_sizes_with_it() {
        let mut buffer = WriteBuffer::default();
        buffer.write(key("a"), text("1"), 1, &[]);
        let before = buffer.size_bytes();
        buffer.start_journal();
        buffer.write(key("a"), text("2"), 3, &[3]);
        buffer.write(key("b"), text("2"), 3, &[3]);
        buffer.write(key("b"), text("long value"), 4, &[3]);
        buffer.undo_from(4);
        assert_eq!(buffer.get(b"b", 9), Some(&text("2")));
        buffer.undo_from(3);
        buffer.end_journal();
        assert_eq!(buffer.size_bytes(), before);
        assert_eq!(buffer.into_final(), [(key("a"), text("1"))]);
    }

    #[test]
    fn a_finder_finds_keys_in_any_order() {
        let mut buffer = WriteBuffer::default();
        for (name, command) in [("a", 1), ("c", 1), ("d", 2), ("f", 2)] {
            buffer.write(key(name), text(name), command, &[]);
        }
        let mut finder = buffer.finder();
        for name in ["a", "c", "d", "b", "f", "g", "c", "d", "a", "0", "f"] {
            let found = finder.find(name.as_bytes()).map(|writes| writes[0].value.clone());
            assert_eq!(found, buffer.get(name.as_bytes(), 9).cloned(), "{name}");
        }
    }

    #[test]
    fn what_is_handed_out_is_gone_and_what_follows_can_be_undone() {
        let mut buffer = WriteBuffer::default();
        buffer.start_journal();
        buffer.write(key("a"), text("1"), 3, &[]);
        let piece = buffer.take();
        assert!(piece.has_before(4) && !piece.has_before(3) && !buffer.has_before(u32::MAX));
        assert_eq!((piece.depth(), buffer.depth(), buffer.size_bytes()), (1, 0, 0));
        buffer.write(key("b"), text("2"), 5, &[]);
        buffer.undo_from(4);
        assert!(buffer.is_empty());
        assert_eq!(piece.get(b"a", 9), Some(&text("1")));
    }

    #[test]
    fn a_row_written_again_and_again_does_not_grow() {
        let mut buffer = WriteBuffer::default();
        for command in 1..1000 {
            buffer.write(key("a"), text("value"), command, &[5, command]);
        }
        assert_eq!(buffer.get(b"a", 5), Some(&text("value")));
        assert!(buffer.keys[&key("a")].len() <= BUFFERED_VERSIONS_BEFORE_PRUNE + 1);
        assert!(buffer.size_bytes() < 2048);
    }
}
