//! Sequences: counters outside transactions, handed out in ranges.
//!
//! What is stored is how far values have been *reserved*; they are handed out from memory. So most values cost
//! no round of the log, and a crash loses at most what was reserved and not handed out, as in PostgreSQL:
//!
//! ```text
//!   stored: 33      handed out: 1 2 3 ...       after a crash the next one is 34
//! ```
//!
//! A sequence whose values go fast, as in a bulk load, has more of them reserved each time, up to a limit.
//!
//! [`crate::Store::close`] stores what was really handed out, so that a clean restart leaves no gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::lock::Mutex as AsyncMutex;
use parking_lot::Mutex;
use shardforge_runtime::Instant;

use crate::encoding;
use crate::error::{KvError, Result};
use crate::limits::{SEQUENCE_RESERVE_TIME, SEQUENCE_RESERVE_VALUES, SEQUENCE_RESERVE_VALUES_MAX};
use crate::store::{Shared, Store};

const FORMAT: u8 = 1;

/// How a sequence counts; its owner keeps this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceOptions {
    /// The first value.
    pub start: i64,
    /// The step; not zero.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// Whether it starts again at the other end.
    pub cycle: bool,
}

/// Successive values of a sequence: `first`, `first + increment`, and so on, `count` of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceRange {
    /// The first value.
    pub first: i64,
    /// The step.
    pub increment: i64,
    /// How many, at least one.
    pub count: u64,
}

/// Where a sequence stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceState {
    /// The last value handed out, or (not called) the next one.
    pub last: i64,
    /// Whether `last` has been handed out.
    pub is_called: bool,
}

impl SequenceState {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT, u8::from(self.is_called)];
        out.extend_from_slice(&self.last.to_be_bytes());
        out
    }

    fn decode(stored: &[u8]) -> Result<Self> {
        let corrupt = KvError::Corrupt("a sequence is not well formed");
        let Some(([FORMAT, is_called], rest)) = stored.split_first_chunk::<2>() else { return Err(corrupt) };
        let last = i64::from_be_bytes(rest.try_into().map_err(|_| corrupt)?);
        Ok(Self { last, is_called: *is_called != 0 })
    }
}

impl SequenceOptions {
    /// The value after the state, and how many follow without a wrap (that one included, at most `wanted`).
    fn next(&self, state: Option<SequenceState>, wanted: u64) -> Result<(i64, u64)> {
        if self.increment == 0 {
            return Err(KvError::InvalidState("a sequence needs an increment"));
        }
        let ascending = self.increment > 0;
        let first = match state {
            None => self.start,
            Some(SequenceState { last, is_called: false }) => last,
            Some(SequenceState { last, is_called: true }) => {
                let next = last.checked_add(self.increment);
                match next.filter(|next| (self.min..=self.max).contains(next)) {
                    Some(next) => next,
                    None if !self.cycle => return Err(KvError::SequenceExhausted { ascending }),
                    None if ascending => self.min,
                    None => self.max,
                }
            }
        };
        let limit = if ascending { self.max } else { self.min };
        let room = (i128::from(limit) - i128::from(first)) / i128::from(self.increment);
        let room = u64::try_from(room.max(0)).unwrap_or(u64::MAX - 1);
        Ok((first, wanted.clamp(1, room + 1)))
    }

    fn nth(&self, first: i64, count: u64) -> i64 {
        let last = i128::from(first) + i128::from(self.increment) * (i128::from(count) - 1);
        i64::try_from(last).unwrap_or(if self.increment > 0 { self.max } else { self.min })
    }
}

/// A sequence in memory.
#[derive(Debug, Default)]
struct Cached {
    loaded: bool,
    state: Option<SequenceState>,
    /// Values after `state` that the store has reserved.
    reserved: u64,
    /// How many were reserved beyond those asked for, and when.
    reserve: Option<(u64, Instant)>,
}

impl Cached {
    /// Takes values from memory; none if they have to be reserved first.
    fn take(&mut self, options: &SequenceOptions, count: u64) -> Result<Option<SequenceRange>> {
        let (first, count) = options.next(self.state, count)?;
        if self.reserved < count {
            return Ok(None);
        }
        self.reserved -= count;
        self.state = Some(SequenceState { last: options.nth(first, count), is_called: true });
        Ok(Some(SequenceRange { first, increment: options.increment, count }))
    }

    /// How many values to reserve beyond those asked for.
    fn next_reserve(&self, now: Instant) -> u64 {
        match self.reserve {
            Some((reserve, at)) if now < at + SEQUENCE_RESERVE_TIME => {
                (reserve * 2).min(SEQUENCE_RESERVE_VALUES_MAX)
            }
            _ => SEQUENCE_RESERVE_VALUES,
        }
    }
}

/// The sequences in use.
#[derive(Debug, Default)]
pub(crate) struct Sequences(Mutex<BTreeMap<u64, Arc<AsyncMutex<Cached>>>>);

impl Sequences {
    fn get(&self, id: u64) -> Arc<AsyncMutex<Cached>> {
        Arc::clone(self.0.lock().entry(id).or_default())
    }
}

/// A sequence as a key and its value.
fn stored(id: u64, state: SequenceState) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(&encoding::counter_key(id)), Bytes::from(state.encode()))
}

impl Shared {
    fn load_sequence(&self, id: u64, cached: &mut Cached) -> Result<()> {
        if !cached.loaded {
            let key = encoding::counter_key(id);
            let shard = self.shard_for(&key)?;
            cached.state = self.read(&shard, |view| {
                view.get(&key)?.map(|stored| SequenceState::decode(&stored)).transpose()
            })?;
            cached.loaded = true;
        }
        Ok(())
    }

    async fn store_sequence(&self, id: u64, state: SequenceState) -> Result<()> {
        let puts = vec![stored(id, state)];
        self.propose_scattered(puts, Vec::new()).await
    }
}

impl Store {
    /// Takes up to `count` successive values, at least one. Fewer come when the sequence's end is near.
    ///
    /// # Errors
    /// [`KvError::SequenceExhausted`] when there is none left and the sequence does not cycle; those of the
    /// shard.
    pub async fn next_sequence_values(
        &self,
        id: u64,
        options: &SequenceOptions,
        count: u64,
    ) -> Result<SequenceRange> {
        let sequence = self.shared.sequences.get(id);
        let mut cached = sequence.lock().await;
        self.shared.load_sequence(id, &mut cached)?;
        if let Some(range) = cached.take(options, count)? {
            return Ok(range);
        }
        let now = self.shared.runtime.now();
        let ahead = cached.next_reserve(now);
        let (first, count) = options.next(cached.state, count)?;
        let (_, reserve) = options.next(cached.state, count.saturating_add(ahead))?;
        let last = options.nth(first, reserve);
        self.shared.store_sequence(id, SequenceState { last, is_called: true }).await?;
        cached.reserved = reserve - count;
        cached.reserve = Some((ahead, now));
        cached.state = Some(SequenceState { last: options.nth(first, count), is_called: true });
        Ok(SequenceRange { first, increment: options.increment, count })
    }

    /// As [`Self::next_sequence_values`], if that has to wait for nothing: neither for the store nor for somebody else
    /// who is taking values. None, and nothing is taken, if it has to.
    ///
    /// # Errors
    /// As [`Self::next_sequence_values`].
    pub fn next_sequence_values_at_once(
        &self,
        id: u64,
        options: &SequenceOptions,
        count: u64,
    ) -> Result<Option<SequenceRange>> {
        self.shared.check_running()?;
        let sequence = self.shared.sequences.get(id);
        match sequence.try_lock() {
            Some(mut cached) if cached.loaded => cached.take(options, count),
            _ => Ok(None),
        }
    }

    /// Where a sequence stands; `None` when no value has been taken yet.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn sequence_state(&self, id: u64) -> Result<Option<SequenceState>> {
        let sequence = self.shared.sequences.get(id);
        let mut cached = sequence.lock().await;
        self.shared.load_sequence(id, &mut cached)?;
        Ok(cached.state)
    }

    /// Makes a sequence go on after `last`, or (not called) with it: `setval`, `RESTART`.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn set_sequence(&self, id: u64, last: i64, is_called: bool) -> Result<()> {
        let state = SequenceState { last, is_called };
        let sequence = self.shared.sequences.get(id);
        let mut cached = sequence.lock().await;
        self.shared.store_sequence(id, state).await?;
        *cached = Cached { loaded: true, state: Some(state), ..Cached::default() };
        Ok(())
    }

    /// Removes sequences; they begin anew if they are used again.
    ///
    /// # Errors
    /// When the shard fails.
    pub async fn drop_sequences(&self, ids: &[u64]) -> Result<()> {
        let deletes = ids.iter().map(|id| Bytes::copy_from_slice(&encoding::counter_key(*id))).collect();
        self.shared.propose_scattered(Vec::new(), deletes).await?;
        let mut cached = self.shared.sequences.0.lock();
        for id in ids {
            cached.remove(id);
        }
        Ok(())
    }

    /// The next number of a counter that starts at 0 and never ends: for ids. It shares its numbers with the
    /// sequences.
    ///
    /// # Errors
    /// As [`Store::next_sequence_values`].
    pub async fn next_id(&self, id: u64) -> Result<u64> {
        let options = SequenceOptions { start: 0, increment: 1, min: 0, max: i64::MAX, cycle: false };
        Ok(self.next_sequence_values(id, &options, 1).await?.first.cast_unsigned())
    }

    /// Stores what is in memory only, before the node is shut down: where the sequences really stand.
    ///
    /// # Errors
    /// When the shard fails; nothing is lost then but the numbers that were reserved.
    pub async fn close(&self) -> Result<()> {
        let all: Vec<_> =
            self.shared.sequences.0.lock().iter().map(|(id, cached)| (*id, Arc::clone(cached))).collect();
        let mut puts = Vec::new();
        for (id, sequence) in all {
            let mut cached = sequence.lock().await;
            if let Some(state) = cached.state.filter(|_| cached.reserved > 0) {
                cached.reserved = 0;
                puts.push(stored(id, state));
            }
        }
        if !puts.is_empty() {
            self.shared.propose_scattered(puts, Vec::new()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UP: SequenceOptions = SequenceOptions { start: 1, increment: 1, min: 1, max: 5, cycle: false };

    fn called(last: i64) -> Option<SequenceState> {
        Some(SequenceState { last, is_called: true })
    }

    #[test]
    fn values_follow_each_other_up_to_the_end() {
        assert_eq!(UP.next(None, 3).unwrap(), (1, 3));
        assert_eq!(UP.next(called(3), 10).unwrap(), (4, 2));
        assert!(matches!(UP.next(called(5), 1), Err(KvError::SequenceExhausted { ascending: true })));
        assert_eq!(UP.next(Some(SequenceState { last: 4, is_called: false }), 1).unwrap(), (4, 1));
        assert_eq!(SequenceOptions { cycle: true, ..UP }.next(called(5), 2).unwrap(), (1, 2));
    }

    #[test]
    fn they_go_down_and_to_the_ends_of_the_numbers() {
        let down = SequenceOptions { start: -1, increment: -3, min: i64::MIN, max: -1, cycle: false };
        assert_eq!(down.next(None, 4).unwrap(), (-1, 4));
        assert_eq!(down.nth(-1, 4), -10);
        assert!(matches!(
            down.next(called(i64::MIN + 1), 1),
            Err(KvError::SequenceExhausted { ascending: false })
        ));
        let full = SequenceOptions { start: 1, increment: 1, min: i64::MIN, max: i64::MAX, cycle: false };
        assert!(full.next(called(i64::MAX), 1).is_err());
        assert_eq!(full.next(called(i64::MIN), u64::MAX).unwrap().1, u64::MAX);
    }

    #[test]
    fn values_that_go_fast_are_reserved_in_larger_numbers() {
        let at = |seconds| Instant::from_nanos(0) + Duration::from_secs(seconds);
        let mut cached = Cached::default();
        for expected in [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 8192] {
            assert_eq!(cached.next_reserve(at(5)), expected);
            cached.reserve = Some((expected, at(5)));
        }
        assert_eq!(cached.next_reserve(at(6)), 32);
    }

    #[test]
    fn values_are_taken_from_memory_as_long_as_they_last() {
        let mut cached = Cached { loaded: true, reserved: 3, ..Cached::default() };
        let mut take = |count| cached.take(&UP, count).unwrap().map(|range| (range.first, range.count));
        assert_eq!(take(2), Some((1, 2)));
        assert_eq!(take(2), None);
        assert_eq!(take(1), Some((3, 1)));
        assert_eq!(take(1), None);
    }

    #[test]
    fn states_come_back() {
        let state = SequenceState { last: -7, is_called: true };
        assert_eq!(SequenceState::decode(&state.encode()).unwrap(), state);
        assert!(SequenceState::decode(&[]).is_err() && SequenceState::decode(&[1, 0, 5]).is_err());
    }
}
