//! What one raft entry carries: commands of several callers, each already in its byte form.
//!
//! A command is encoded once, on its caller's task, and the same bytes go into the log entry, the log's
//! memory and, operation by operation, into the engine's write batch:
//!
//! ```text
//!   version u8 = 2 | flags u8 (1: has a term, 2: has a generation, 4: is a split) | [term u64] | [generation u64] |
//!   writes:  count, (start, end)* | count, key* | count, (key, value)*
//!   a split: the right shard's id u64 | the key that it begins with
//!   counts and lengths are u32; all numbers are little-endian; keys and values are length-prefixed
//! ```
//!
//! The *generation* says how often the shard had been split when the command's keys were looked up. After a split the
//! shard carries out no command of an earlier generation: some of its keys may lie in another shard by then.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::command::Command;
use crate::engine::WriteBatch;
use crate::error::{ConsensusError, Result};
use crate::types::ShardId;

const VERSION: u8 = 2;
const HAS_TERM: u8 = 1;
const HAS_GENERATION: u8 = 2;
const IS_SPLIT: u8 = 4;

/// A command in its byte form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EncodedCommand(Bytes);

/// What a command is to the replica that carries it out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Its writes are in the batch.
    Written,
    /// It expects another term, and is left out.
    OtherTerm,
    /// It was made before a split, and is left out.
    OtherGeneration,
    /// The shard ends before `at` from here on, and `right` holds the rest of its range.
    Split { at: Bytes, right: ShardId },
}

impl EncodedCommand {
    /// A command for a shard of a generation; one that does not mind splits has none.
    pub(crate) fn new(command: &Command, generation: Option<u64>) -> Self {
        let payload: usize =
            command.delete_ranges.iter().map(|(start, end)| start.len() + end.len() + 8).sum::<usize>()
                + command.deletes.iter().map(|key| key.len() + 4).sum::<usize>()
                + command.puts.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(payload + 32);
        put_header(&mut bytes, 0, command.expected_term, generation);
        put_count(&mut bytes, command.delete_ranges.len());
        for (start, end) in &command.delete_ranges {
            put_slice(&mut bytes, start);
            put_slice(&mut bytes, end);
        }
        put_count(&mut bytes, command.deletes.len());
        for key in &command.deletes {
            put_slice(&mut bytes, key);
        }
        put_count(&mut bytes, command.puts.len());
        for (key, value) in &command.puts {
            put_slice(&mut bytes, key);
            put_slice(&mut bytes, value);
        }
        Self(bytes.freeze())
    }

    /// The command that splits a shard of a generation.
    pub(crate) fn split(at: &[u8], right: ShardId, generation: u64) -> Self {
        let mut bytes = BytesMut::with_capacity(at.len() + 32);
        put_header(&mut bytes, IS_SPLIT, None, Some(generation));
        bytes.put_u64_le(right.0);
        put_slice(&mut bytes, at);
        Self(bytes.freeze())
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// What the command is to a shard in a term and of a generation; adds its writes to `batch`.
    pub(crate) fn apply(&self, term: u64, generation: u64, batch: &mut WriteBatch) -> Result<Effect> {
        let mut reader = Reader { bytes: &self.0, at: 0 };
        let version = reader.u8()?;
        if version != VERSION {
            return Err(ConsensusError::Corrupt(format!("a command of version {version}")));
        }
        let flags = reader.u8()?;
        let expected_term = if flags & HAS_TERM != 0 { Some(reader.u64()?) } else { None };
        let expected_generation = if flags & HAS_GENERATION != 0 { Some(reader.u64()?) } else { None };
        if expected_term.is_some_and(|expected| expected != term) {
            return Ok(Effect::OtherTerm);
        }
        if expected_generation.is_some_and(|expected| expected != generation) {
            return Ok(Effect::OtherGeneration);
        }
        if flags & IS_SPLIT != 0 {
            let right = ShardId(reader.u64()?);
            return Ok(Effect::Split { at: reader.slice()?, right });
        }
        for _ in 0..reader.u32()? {
            let (start, end) = (reader.slice()?, reader.slice()?);
            batch.delete_range(start, end);
        }
        for _ in 0..reader.u32()? {
            batch.delete(reader.slice()?);
        }
        for _ in 0..reader.u32()? {
            let (key, value) = (reader.slice()?, reader.slice()?);
            batch.put(key, value);
        }
        Ok(Effect::Written)
    }
}

fn put_header(bytes: &mut BytesMut, kind: u8, term: Option<u64>, generation: Option<u64>) {
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    bytes.put_u8(VERSION);
    bytes.put_u8(kind | flag(term.is_some(), HAS_TERM) | flag(generation.is_some(), HAS_GENERATION));
    for number in [term, generation].into_iter().flatten() {
        bytes.put_u64_le(number);
    }
}

/// Lengths fit: a command is at most `COMMAND_SIZE_MAX_BYTES` long, which its proposer checks.
fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_slice(bytes: &mut BytesMut, slice: &[u8]) {
    put_count(bytes, slice.len());
    bytes.put_slice(slice);
}

/// Reads a command without trusting it; slices share its memory.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(ConsensusError::Corrupt("a command that ends too early".to_owned()));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(number))
    }

    fn u64(&mut self) -> Result<u64> {
        let mut number = [0; 8];
        number.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(number))
    }

    fn slice(&mut self) -> Result<Bytes> {
        let length = self.u32()? as usize;
        self.take(length)?;
        Ok(self.bytes.slice(self.at - length..self.at))
    }
}

impl Serialize for EncodedCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for EncodedCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = EncodedCommand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a command")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> std::result::Result<EncodedCommand, E> {
                Ok(EncodedCommand(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> std::result::Result<EncodedCommand, E> {
                Ok(EncodedCommand(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// Commands that share one raft entry, in the order in which they are carried out.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct CommandBatch {
    pub commands: Vec<EncodedCommand>,
}

impl CommandBatch {
    pub(crate) fn size_bytes(&self) -> usize {
        self.commands.iter().map(EncodedCommand::size_bytes).sum()
    }
}

impl fmt::Debug for CommandBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands of {} bytes", self.commands.len(), self.size_bytes())
    }
}

impl fmt::Display for CommandBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of the commands of one entry.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BatchOutcome {
    /// The positions of those that expected another term, in ascending order.
    pub rejected: Vec<u32>,
    /// The positions of those that were made before a split, in ascending order. All others were carried out.
    pub moved: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{CommandBatch, Effect, EncodedCommand};
    use crate::command::Command;
    use crate::engine::{Operation, WriteBatch};
    use crate::raft::codec;
    use crate::types::ShardId;

    fn command(expected_term: Option<u64>) -> Command {
        Command {
            expected_term,
            delete_ranges: vec![(Bytes::from("a"), Bytes::from("b"))],
            deletes: vec![Bytes::from("c")],
            puts: vec![(Bytes::from("d"), Bytes::from("1")), (Bytes::from("e"), Bytes::new())],
        }
    }

    #[test]
    fn a_command_survives_the_log_and_expands_in_order() {
        let batch = CommandBatch { commands: vec![EncodedCommand::new(&command(Some(3)), Some(7))] };
        let bytes = codec::encode(&batch).unwrap();
        let read: CommandBatch = codec::decode(&bytes).unwrap();
        assert!(read == batch);

        let mut writes = WriteBatch::new();
        assert_eq!(read.commands[0].apply(3, 7, &mut writes).unwrap(), Effect::Written);
        assert_eq!(
            writes.operations(),
            [
                Operation::DeleteRange("a".into(), "b".into()),
                Operation::Delete("c".into()),
                Operation::Put("d".into(), "1".into()),
                Operation::Put("e".into(), Bytes::new()),
            ]
        );
        let mut none = WriteBatch::new();
        assert_eq!(read.commands[0].apply(4, 7, &mut none).unwrap(), Effect::OtherTerm);
        assert_eq!(read.commands[0].apply(3, 8, &mut none).unwrap(), Effect::OtherGeneration);
        assert!(none.is_empty());
        let always = EncodedCommand::new(&command(None), None);
        assert_eq!(always.apply(9, 9, &mut none).unwrap(), Effect::Written);
    }

    #[test]
    fn a_split_is_one_command_of_its_generation() {
        let split = EncodedCommand::split(b"m", ShardId(9), 2);
        let mut writes = WriteBatch::new();
        let expected = Effect::Split { at: Bytes::from("m"), right: ShardId(9) };
        assert_eq!(split.apply(5, 2, &mut writes).unwrap(), expected);
        assert_eq!(split.apply(5, 3, &mut writes).unwrap(), Effect::OtherGeneration);
        assert!(writes.is_empty());
        for length in 0..split.0.len() {
            let cut = EncodedCommand(split.0.slice(..length));
            assert!(cut.apply(5, 2, &mut writes).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_cut_command_is_an_error_at_every_length() {
        let whole = EncodedCommand::new(&command(None), None);
        for length in 0..whole.0.len() {
            let cut = EncodedCommand(whole.0.slice(..length));
            assert!(cut.apply(1, 0, &mut WriteBatch::new()).is_err(), "cut at {length}");
        }
    }
}
