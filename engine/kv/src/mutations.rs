//! Bugs that this crate could have, to show that its simulation would find them.
//!
//! Each is a line at the place where the right thing is done, which does the wrong one if the bug is switched on:
//!
//! ```text
//!   if !is_on(Mutation::LockLostOnTransfer) { self.add(owner, mode.bit()); }
//! ```
//!
//! The switch exists in the crate `shardforge-simulation` alone, which compiles these sources a second time with the
//! feature `mutations`; everywhere else [`is_on`] is the constant `false` and the compiler takes the lines out. That
//! crate's README says what catches which.

/// A bug to be switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Who gets a lock from the queue is woken, but not entered as its holder.
    LockLostOnTransfer,
    /// A commit that ends clears its keys' counters, though other commits under way share them: readers overtake
    /// those.
    PendingCommitsCollide,
    /// SERIALIZABLE checks only the first of the ranges that it has read.
    MissedRefresh,
    /// A provisional version of a transaction that still runs counts as committed.
    DirtyRead,
    /// A commit that was applied is applied once more, at a later timestamp.
    DoubledApply,
    /// A commit is acknowledged when it has its place in the log, durable or not.
    AcknowledgedTooEarly,
    /// A value taken over from a commit under way is not remembered as such.
    DependencyForgotten,
    /// Garbage collection does not ask which snapshots are in use.
    CollectedUnderSnapshot,
    /// ROLLBACK TO leaves alone what was spilled since the savepoint.
    SpillSurvivesRollback,
    /// After a restart timestamps start at the wall clock, whatever is stored.
    ClockStartsBehind,
    /// A scan does not wait for commits under way below its snapshot.
    ScanOvertakesCommit,
    /// REPEATABLE READ writes over what others committed since its snapshot.
    LostUpdate,
    /// ROLLBACK TO gives back a lock that was taken before the savepoint, too.
    SavepointLosesLocks,
    /// What prepared transactions have read is not watched.
    PreparedReadsUnwatched,
    /// What a store proposes is carried out in whatever term.
    ProposalsOfAnyTerm,
    /// Nobody asks whether the tenure is still valid when something was read.
    LeaseUnchecked,
}

#[cfg(feature = "mutations")]
mod switch {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Switches a bug on, for this thread: a simulation has only one.
    pub fn switch_on(mutation: Option<Mutation>) {
        ON.set(mutation);
    }

    pub(crate) fn is_on(mutation: Mutation) -> bool {
        ON.get() == Some(mutation)
    }
}

#[cfg(feature = "mutations")]
pub(crate) use switch::is_on;
#[cfg(feature = "mutations")]
pub use switch::switch_on;

#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn is_on(_mutation: Mutation) -> bool {
    false
}
