//! Where rows have gone whose keys have changed.
//!
//! To the store, a row whose key changes is one row that is deleted and another that is inserted. Who waits with a READ
//! COMMITTED statement for the lock of the first wants to go on with the second: it is the same row to him. So a
//! transaction notes its moves ([`crate::Transaction::move_row`]), and they are kept here from its commit on until no
//! snapshot is left that shows the rows where they were:
//!
//! ```text
//!   a -> b   at 10:1         a, seen at 5, is at c: `next` once from a, and once more from b
//!   b -> c   at 10:2         a, seen at 10, is what has been inserted there since
//!   d gone   at 10:3         d was deleted and inserted again: whoever saw it at 5 finds another row there
//! ```
//!
//! Nobody waits across a restart, so nothing of this is stored. It takes memory for each row: of a transaction that moves very
//! many it is known only that it did, and who would have to follow one of its rows fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::limits::{MOVED_ROWS_MAX, MOVED_ROWS_OF_TRANSACTION_MAX};
use crate::store::Shared;
use crate::time::Timestamp;

/// What became of the row that was under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It has another key.
    MovedTo(Bytes),
    /// It is deleted, though there may be another one under its key.
    Gone,
}

/// A moment in the history of rows: a commit, and a change among those of its transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment {
    commit_ts: Timestamp,
    number: u32,
}

impl Moment {
    /// What a snapshot shows is as of this moment.
    pub(crate) fn of_snapshot(read_ts: Timestamp) -> Self {
        Self { commit_ts: read_ts, number: u32::MAX }
    }
}

/// What a transaction has moved, in its order, with the commands that did it.
#[derive(Clone, Default, Debug)]
pub(crate) struct OwnMoves {
    moves: Vec<(u32, Bytes, Fate)>,
    /// There were more.
    is_cut_off: bool,
}

impl OwnMoves {
    pub(crate) fn note(&mut self, command: u32, key: Bytes, fate: Fate) {
        if self.moves.len() < MOVED_ROWS_OF_TRANSACTION_MAX {
            self.moves.push((command, key, fate));
        } else {
            // That another row is there now is told by its values, mostly; that a row has gone elsewhere is not.
            self.is_cut_off |= fate != Fate::Gone;
        }
    }

    /// Forgets those of `command` and later ones.
    pub(crate) fn undo_from(&mut self, command: u32) {
        let kept = self.moves.partition_point(|(by, _, _)| *by < command);
        self.moves.truncate(kept);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }
}

/// See the module's essay.
#[derive(Default)]
pub(crate) struct MovedRows {
    state: Mutex<State>,
    /// How many commits are known: nearly always none.
    commits: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// In the order in which it happened, for each key.
    by_key: HashMap<Bytes, SmallVec<[(Moment, Fate); 1]>>,
    /// The keys that a commit has moved rows away from; `None` when they were too many.
    by_commit: BTreeMap<Timestamp, Option<Vec<Bytes>>>,
    moves: usize,
}

impl State {
    fn forget(&mut self, commit_ts: Timestamp, keys: Option<Vec<Bytes>>) {
        for key in keys.into_iter().flatten() {
            let Some(moves) = self.by_key.get_mut(&key) else { continue };
            let before = moves.len();
            moves.retain(|(moment, _)| moment.commit_ts != commit_ts);
            self.moves -= before - moves.len();
            if moves.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}

impl MovedRows {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.commits.store(state.by_commit.len(), Ordering::SeqCst);
        result
    }

    fn is_empty(&self) -> bool {
        self.commits.load(Ordering::SeqCst) == 0
    }

    /// A transaction has its commit timestamp; nobody has got one of its locks yet.
    pub(crate) fn add(&self, commit_ts: Timestamp, own: OwnMoves) {
        self.change(|state| {
            if own.is_cut_off || state.moves + own.moves.len() > MOVED_ROWS_MAX {
                state.by_commit.insert(commit_ts, None);
                return;
            }
            state.moves += own.moves.len();
            state
                .by_commit
                .insert(commit_ts, Some(own.moves.iter().map(|(_, key, _)| key.clone()).collect()));
            for (number, (_, key, fate)) in (0..).zip(own.moves) {
                let moves = state.by_key.entry(key).or_default();
                let moment = Moment { commit_ts, number };
                // Commits of different rows that have met under one key may come here in any order.
                let at = moves.partition_point(|(other, _)| *other < moment);
                moves.insert(at, (moment, fate));
            }
        });
    }

    /// The commit has come to nothing.
    pub(crate) fn remove(&self, commit_ts: Timestamp) {
        self.change(|state| {
            if let Some(keys) = state.by_commit.remove(&commit_ts) {
                state.forget(commit_ts, keys);
            }
        });
    }

    /// What became first, after `since`, of the row that was under a key.
    pub(crate) fn next(&self, key: &[u8], since: Moment) -> Option<(Moment, Fate)> {
        if self.is_empty() {
            return None;
        }
        let state = self.state.lock();
        state.by_key.get(key)?.iter().find(|(moment, _)| *moment > since).cloned()
    }

    /// Whether a commit has moved so many rows that it is not known which.
    pub(crate) fn is_cut_off(&self, commit_ts: Timestamp) -> bool {
        self.state.lock().by_commit.get(&commit_ts).is_some_and(Option::is_none)
    }

    /// Whether there is such a commit.
    pub(crate) fn has_cut_off(&self) -> bool {
        !self.is_empty() && self.state.lock().by_commit.values().any(Option::is_none)
    }

    /// No snapshot is older than `oldest`.
    fn prune(&self, oldest: Timestamp) {
        self.change(|state| {
            while let Some((commit_ts, keys)) = state.by_commit.pop_first() {
                if commit_ts > oldest {
                    state.by_commit.insert(commit_ts, keys);
                    return;
                }
                state.forget(commit_ts, keys);
            }
        });
    }
}

impl Shared {
    /// Forgets moves that every snapshot in use shows.
    pub(crate) fn prune_moved(&self) {
        if !self.moved.is_empty() {
            self.moved.prune(self.snapshots.oldest());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(number: u64) -> Timestamp {
        Timestamp::from_u64(number)
    }

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn moves(list: &[(u32, &'static str, &'static str)]) -> OwnMoves {
        let mut own = OwnMoves::default();
        for (command, from, to) in list {
            let fate = if to.is_empty() { Fate::Gone } else { Fate::MovedTo(key(to)) };
            own.note(*command, key(from), fate);
        }
        own
    }

    /// Where a row is that was at a key, as of a snapshot.
    fn follow(moved: &MovedRows, from: &'static str, read_ts: u64) -> Option<Bytes> {
        let (mut at, mut since) = (key(from), Moment::of_snapshot(ts(read_ts)));
        while let Some((moment, fate)) = moved.next(&at, since) {
            since = moment;
            match fate {
                Fate::MovedTo(next) => at = next,
                Fate::Gone => return None,
            }
        }
        Some(at)
    }

    #[test]
    fn rows_are_followed_through_one_commit_and_several() {
        let moved = MovedRows::default();
        moved.add(ts(10), moves(&[(1, "a", "b"), (2, "b", "c"), (3, "d", ""), (4, "x", "y"), (5, "y", "x")]));
        moved.add(ts(20), moves(&[(1, "c", "e")]));
        assert_eq!(follow(&moved, "a", 5), Some(key("e")));
        assert_eq!(follow(&moved, "a", 10), Some(key("a")), "another row");
        assert_eq!(follow(&moved, "c", 15), Some(key("e")));
        assert_eq!(follow(&moved, "d", 5), None);
        assert_eq!(follow(&moved, "x", 5), Some(key("x")), "away and back");
        moved.prune(ts(15));
        assert_eq!(follow(&moved, "a", 5), Some(key("a")));
        assert_eq!(follow(&moved, "c", 15), Some(key("e")));
        moved.remove(ts(20));
        assert!(moved.is_empty() && moved.state.lock().moves == 0 && moved.state.lock().by_key.is_empty());
    }

    #[test]
    fn what_is_undone_has_not_moved_and_too_much_is_cut_off() {
        let mut own = moves(&[(1, "a", "b"), (3, "c", "d")]);
        own.undo_from(2);
        assert_eq!(own.moves.len(), 1);
        for _ in 0..MOVED_ROWS_OF_TRANSACTION_MAX {
            own.note(4, key("k"), Fate::Gone);
        }
        assert!(!own.is_cut_off);
        own.note(5, key("k"), Fate::MovedTo(key("l")));
        let moved = MovedRows::default();
        moved.add(ts(10), own);
        assert!(moved.is_cut_off(ts(10)) && !moved.is_cut_off(ts(11)));
        moved.prune(ts(10));
        assert!(!moved.is_cut_off(ts(10)));
    }
}
