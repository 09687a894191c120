//! The registry of snapshots in use: garbage collection keeps what they see.
//!
//! A snapshot's timestamp is taken under its partition's mutex, and the collector takes its own before it
//! looks at the partitions. So a snapshot that the collector did not see lies above what it collects.

use parking_lot::Mutex;

use crate::limits::SNAPSHOT_PARTITIONS;
use crate::time::{Clock, Timestamp};

/// Snapshots in use.
pub(crate) struct ActiveSnapshots {
    partitions: Box<[Mutex<Partition>]>,
}

#[derive(Default)]
struct Partition {
    /// `Timestamp::MAX` in a free slot.
    slots: Vec<Timestamp>,
    free: Vec<u32>,
}

/// A place in the registry; given back with [`ActiveSnapshots::release`].
#[derive(Debug)]
pub(crate) struct SnapshotSlot {
    partition: u32,
    slot: u32,
}

impl ActiveSnapshots {
    pub(crate) fn new() -> Self {
        Self { partitions: (0..SNAPSHOT_PARTITIONS).map(|_| Mutex::default()).collect() }
    }

    /// Takes a new snapshot and registers it. `spread` tells callers apart, to spread them over partitions.
    pub(crate) fn acquire(&self, spread: u64, clock: &Clock) -> (SnapshotSlot, Timestamp) {
        let index = spread as usize % self.partitions.len();
        let mut partition = self.partitions[index].lock();
        let ts = clock.now();
        (Self::place(&mut partition, index, ts), ts)
    }

    /// Registers a snapshot that another slot protects at this moment.
    pub(crate) fn share(&self, spread: u64, ts: Timestamp) -> SnapshotSlot {
        let index = spread as usize % self.partitions.len();
        Self::place(&mut self.partitions[index].lock(), index, ts)
    }

    fn place(partition: &mut Partition, index: usize, ts: Timestamp) -> SnapshotSlot {
        let slot = match partition.free.pop() {
            Some(slot) => {
                partition.slots[slot as usize] = ts;
                slot
            }
            None => {
                partition.slots.push(ts);
                (partition.slots.len() - 1) as u32
            }
        };
        SnapshotSlot { partition: index as u32, slot }
    }

    /// Replaces the slot's snapshot with a new one.
    pub(crate) fn renew(&self, slot: &SnapshotSlot, clock: &Clock) -> Timestamp {
        let mut partition = self.partitions[slot.partition as usize].lock();
        let ts = clock.now();
        partition.slots[slot.slot as usize] = ts;
        ts
    }

    /// Gives the slot back.
    #[expect(clippy::needless_pass_by_value, reason = "nobody may use the slot afterwards")]
    pub(crate) fn release(&self, slot: SnapshotSlot) {
        let SnapshotSlot { partition, slot } = slot;
        let mut partition = self.partitions[partition as usize].lock();
        partition.slots[slot as usize] = Timestamp::MAX;
        partition.free.push(slot);
    }

    /// The oldest snapshot in use; `Timestamp::MAX` when there is none.
    pub(crate) fn oldest(&self) -> Timestamp {
        let oldest = |partition: &Mutex<Partition>| partition.lock().slots.iter().copied().min();
        self.partitions.iter().filter_map(oldest).min().unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use shardforge_runtime::Simulation;

    use super::ActiveSnapshots;
    use crate::time::{Clock, Timestamp};

    #[test]
    fn the_oldest_snapshot_is_known() {
        let clock = Clock::new(Simulation::new(1).runtime());
        let active = ActiveSnapshots::new();
        assert_eq!(active.oldest(), Timestamp::MAX);
        let (first, first_ts) = active.acquire(1, &clock);
        let (second, second_ts) = active.acquire(2, &clock);
        let shared = active.share(1, first_ts);
        assert_eq!(active.oldest(), first_ts);
        let renewed = active.renew(&first, &clock);
        assert_eq!(active.oldest(), first_ts);
        active.release(shared);
        assert_eq!(active.oldest(), second_ts);
        active.release(second);
        assert_eq!(active.oldest(), renewed);
        active.release(first);
        assert_eq!(active.oldest(), Timestamp::MAX);
    }
}
