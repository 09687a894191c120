//! Keys to shards, and writes to wherever their keys lie by then.
//!
//! All that a store proposes goes through [`Shared::propose`] or [`Shared::submit`], and so is carried out in the store's tenure
//! or not at all. All that it reads of a shard goes through [`Shared::read`], and is used only if the tenure was
//! still valid when it had been read. Nothing else of the crate asks a shard for anything.
//!
//! A shard may be split between the moment when a key is looked up and the moment when a command for it is carried out. The
//! shard refuses the command then, nothing of it is done, and it is put together anew. For the crate's own blind
//! writes (garbage, records, sequences) that is done here; commits and spills see to it themselves, for they consist of
//! more than one command.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::{Applied, Command, ConsensusError, KeyRange, ReadView, Shard, ShardId, ShardMap};

use crate::encoding::row_prefix;
use crate::error::{KvError, Result};
use crate::mutations::{Mutation, is_on};
use crate::store::Shared;

/// What a missing shard means. A tenure begins when its node leads shards that cover all keys, and ends when one of them leaves
/// the node: who still finds one missing asks a store that serves no more.
pub(crate) const MISSING: KvError = KvError::ShuttingDown;

/// The shard of a map that holds a row.
pub(crate) fn row_holder<'a>(map: &'a ShardMap, key: &[u8]) -> Result<&'a Arc<Shard>> {
    match map.data() {
        [only] => Ok(only),
        _ => map.holder(&row_prefix(key)).ok_or(MISSING),
    }
}

/// The part of the writes, which are in the order of their keys, that lies in a range of a shard.
pub(crate) fn writes_within<'a, T>(writes: &'a [(Bytes, T)], range: &KeyRange) -> &'a [(Bytes, T)] {
    let before = |bound: &[u8]| writes.partition_point(|(key, _)| row_prefix(key)[..] < *bound);
    let end = range.end.as_ref().map_or(writes.len(), |end| before(end));
    &writes[before(&range.start).min(end)..end]
}

impl Shared {
    /// The shard that holds an encoded key.
    pub(crate) fn shard_for(&self, encoded: &[u8]) -> Result<Arc<Shard>> {
        self.node.shard_for(encoded).ok_or(MISSING)
    }

    /// The shard of a name.
    pub(crate) fn shard(&self, id: ShardId) -> Result<Arc<Shard>> {
        self.node.shards().by_id(id).cloned().ok_or(MISSING)
    }

    /// Reads a shard as it is now. What comes of it is the newest state: nobody else can have served requests before it was
    /// read, and no commit whose fate is unknown has left the list of those under way before (it stops the store first).
    pub(crate) fn read<T>(&self, shard: &Shard, read: impl FnOnce(ReadView<'_>) -> Result<T>) -> Result<T> {
        let found = read(shard.read());
        // An error may be wrong as well as a value.
        self.check_running()?;
        found
    }

    /// Proposes a command; it holds in the store's tenure or not at all.
    pub(crate) async fn propose(&self, shard: &Shard, command: Command) -> Result<Applied, ConsensusError> {
        if is_on(Mutation::ProposalsOfAnyTerm) {
            return shard.propose(command).await;
        }
        self.heeded(self.tenure.propose(shard, command).await)
    }

    /// As [`Self::propose`]; the command has its place in the log when this returns. None if that would have to be waited
    /// for.
    pub(crate) fn submit<'a>(
        &'a self,
        shard: &'a Shard,
        command: &mut Command,
    ) -> Result<Option<impl Future<Output = Result<Applied, ConsensusError>> + 'a>, ConsensusError> {
        if is_on(Mutation::ProposalsOfAnyTerm) {
            return Ok(None);
        }
        let submitted = self.heeded(self.tenure.submit(shard, command))?;
        Ok(submitted.map(async |answer| self.heeded(answer.await)))
    }

    /// Stops the store if a proposal has shown that this node leads no more.
    fn heeded<T>(&self, outcome: Result<T, ConsensusError>) -> Result<T, ConsensusError> {
        if let Err(error @ (ConsensusError::Rejected { .. } | ConsensusError::NotLeader { .. })) = &outcome {
            self.tenure.end(&error.to_string());
        }
        outcome
    }

    /// Proposes a command for the local space of a shard.
    pub(crate) async fn propose_local(&self, id: ShardId, command: Command) -> Result<()> {
        loop {
            let shard = self.shard(id)?;
            match self.propose(&shard, command.clone()).await {
                Err(ConsensusError::Moved { .. }) => self.node.rerouted(&shard).await?,
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    /// Sets and removes encoded keys, each where it lies.
    pub(crate) async fn propose_scattered(
        &self,
        mut puts: Vec<(Bytes, Bytes)>,
        mut deletes: Vec<Bytes>,
    ) -> Result<()> {
        while let Some(key) = puts.first().map(|(key, _)| key).or(deletes.first()) {
            let shard = self.shard_for(key)?;
            let here = |key: &Bytes| shard.range().contains(key);
            let (puts_here, other_puts): (Vec<_>, Vec<_>) =
                puts.iter().cloned().partition(|(key, _)| here(key));
            let (deletes_here, other_deletes): (Vec<_>, Vec<_>) = deletes.iter().cloned().partition(here);
            let command = Command { puts: puts_here, deletes: deletes_here, ..Command::default() };
            match self.propose(&shard, command).await {
                Err(ConsensusError::Moved { .. }) => self.node.rerouted(&shard).await?,
                Err(error) => return Err(error.into()),
                Ok(_) => (puts, deletes) = (other_puts, other_deletes),
            }
        }
        Ok(())
    }

    /// Clears all keys from one to before another.
    pub(crate) async fn clear(&self, start: Bytes, end: Bytes) -> Result<()> {
        let mut from = start;
        while from < end {
            let shard = self.shard_for(&from)?;
            let upto = shard.range().end.clone().map_or(end.clone(), |last| last.min(end.clone()));
            let command = Command { delete_ranges: vec![(from.clone(), upto.clone())], ..Command::default() };
            match self.propose(&shard, command).await {
                Err(ConsensusError::Moved { .. }) => self.node.rerouted(&shard).await?,
                Err(error) => return Err(error.into()),
                Ok(_) => from = upto,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding;

    #[test]
    fn writes_are_parted_as_shards_are() {
        let writes: Vec<_> =
            ["", "a", "a\0", "b", "c"].map(|key| (Bytes::from_static(key.as_bytes()), ())).to_vec();
        let bound = |key: &[u8]| Bytes::copy_from_slice(&encoding::row_bound(key));
        let keys = |range: &KeyRange| {
            writes_within(&writes, range).iter().map(|(key, ())| &key[..]).collect::<Vec<_>>()
        };
        assert_eq!(keys(&KeyRange::new(bound(b"a"), bound(b"b"))), [&b"a"[..], b"a\0"]);
        assert_eq!(keys(&KeyRange::from(bound(b"a\0"))), [&b"a\0"[..], b"b", b"c"]);
        assert_eq!(keys(&KeyRange::new(vec![0x03], bound(b"a"))), [&b""[..]]);
        assert!(keys(&KeyRange::from(bound(b"d"))).is_empty());
    }
}
