//! What one raft entry carries: commands of several callers, each already in its byte form.
//!
//! A command is encoded once, on its caller's task, and the same bytes go into the log entry, the log's
//! memory and, operation by operation, into the engine's write batch:
//!
//! ```text
//!   version u8 = 1 | flags u8 (1: has a term) | [term u64] |
//!   count, (start, end)* | count, key* | count, (key, value)*
//!   counts and lengths are u32; all numbers are little-endian; keys and values are length-prefixed
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::command::Command;
use crate::engine::WriteBatch;
use crate::error::{ConsensusError, Result};

const VERSION: u8 = 1;
const HAS_TERM: u8 = 1;

/// A command in its byte form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EncodedCommand(Bytes);

impl EncodedCommand {
    pub(crate) fn new(command: &Command) -> Self {
        let payload: usize =
            command.delete_ranges.iter().map(|(start, end)| start.len() + end.len() + 8).sum::<usize>()
                + command.deletes.iter().map(|key| key.len() + 4).sum::<usize>()
                + command.puts.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(payload + 24);
        bytes.put_u8(VERSION);
        match command.expected_term {
            Some(term) => {
                bytes.put_u8(HAS_TERM);
                bytes.put_u64_le(term);
            }
            None => bytes.put_u8(0),
        }
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

    pub(crate) fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// Adds the command's writes to `batch`, unless it expects another term; says whether it did.
    pub(crate) fn apply(&self, term: u64, batch: &mut WriteBatch) -> Result<bool> {
        let mut reader = Reader { bytes: &self.0, at: 0 };
        let version = reader.u8()?;
        if version != VERSION {
            return Err(ConsensusError::Corrupt(format!("a command of version {version}")));
        }
        if reader.u8()? & HAS_TERM != 0 && reader.u64()? != term {
            return Ok(false);
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
        Ok(true)
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
    /// The positions of those that expected another term, in ascending order. The others were carried out.
    pub rejected: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{CommandBatch, EncodedCommand};
    use crate::command::Command;
    use crate::engine::{Operation, WriteBatch};
    use crate::raft::codec;

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
        let batch = CommandBatch { commands: vec![EncodedCommand::new(&command(Some(3)))] };
        let bytes = codec::encode(&batch).unwrap();
        let read: CommandBatch = codec::decode(&bytes).unwrap();
        assert!(read == batch);

        let mut writes = WriteBatch::new();
        assert!(read.commands[0].apply(3, &mut writes).unwrap());
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
        assert!(!read.commands[0].apply(4, &mut none).unwrap() && none.is_empty());
    }

    #[test]
    fn a_cut_command_is_an_error_at_every_length() {
        let whole = EncodedCommand::new(&command(None));
        for length in 0..whole.0.len() {
            let cut = EncodedCommand(whole.0.slice(..length));
            assert!(cut.apply(1, &mut WriteBatch::new()).is_err(), "cut at {length}");
        }
    }
}
