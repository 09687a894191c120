//! What a transaction has put off: checks of deferred constraints, and what SET CONSTRAINTS said.
//!
//! Savepoints reach here too. A check that was made after a savepoint may have been satisfied by what ROLLBACK TO
//! undoes, so checks that are done stay in the list, marked, while there are savepoints to go back to.

use hashbrown::HashMap;
use shardforge_types::{Oid, PgResult};

use crate::df::MemoryAccount;
use crate::engine::Engine;
use crate::storage::RowEvent;

/// The deferred checks of a transaction.
pub struct Deferred {
    pending: Vec<Pending>,
    modes: Modes,
    /// How often checks have been made.
    runs: u64,
    /// Open savepoints.
    savepoints: usize,
    account: MemoryAccount,
}

struct Pending {
    event: RowEvent,
    /// The run in which it was found satisfied.
    done: Option<u64>,
}

/// What SET CONSTRAINTS said.
#[derive(Clone, Default)]
struct Modes {
    /// ALL: true for DEFERRED.
    all: Option<bool>,
    /// Single constraints, said after ALL.
    single: HashMap<Oid, bool>,
}

/// What a savepoint remembers.
pub struct DeferredMark {
    pending: usize,
    runs: u64,
    modes: Modes,
}

impl Deferred {
    /// That of a new transaction.
    pub fn new(engine: &Engine) -> Deferred {
        Deferred {
            pending: Vec::new(),
            modes: Modes::default(),
            runs: 0,
            savepoints: 0,
            account: engine.df.account("deferred constraint checks"),
        }
    }

    /// Whether a deferrable constraint is checked later than at the end of the statement.
    pub fn is_deferred(&self, constraint: Oid, initially: bool) -> bool {
        self.modes.single.get(&constraint).copied().or(self.modes.all).unwrap_or(initially)
    }

    /// SET CONSTRAINTS; no constraints: ALL.
    pub fn set(&mut self, constraints: &[Oid], deferred: bool) {
        if constraints.is_empty() {
            self.modes = Modes { all: Some(deferred), single: HashMap::new() };
        }
        self.modes.single.extend(constraints.iter().map(|oid| (*oid, deferred)));
    }

    /// Puts an event off.
    ///
    /// # Errors
    /// 53200 if the memory for queries is used up.
    pub fn push(&mut self, event: RowEvent) -> PgResult<()> {
        self.account.grow(event.size())?;
        self.pending.push(Pending { event, done: None });
        Ok(())
    }

    /// The events that wait and whose constraint `wanted` names; their positions with them.
    pub fn waiting(&self, wanted: &dyn Fn(&RowEvent) -> bool) -> Vec<(usize, RowEvent)> {
        let waiting = self.pending.iter().enumerate().filter(|(_, pending)| pending.done.is_none());
        let wanted = waiting.filter(|(_, pending)| wanted(&pending.event));
        wanted.map(|(position, pending)| (position, pending.event.clone())).collect()
    }

    /// Whether no check waits.
    pub fn is_empty(&self) -> bool {
        self.pending.iter().all(|pending| pending.done.is_some())
    }

    /// Whether a check waits that is about something.
    pub fn concerns(&self, is_about: &dyn Fn(&RowEvent) -> bool) -> bool {
        self.pending.iter().any(|pending| pending.done.is_none() && is_about(&pending.event))
    }

    /// Notes that events, by their positions, are satisfied.
    pub fn satisfied(&mut self, positions: &[usize]) {
        self.runs += 1;
        for position in positions {
            self.pending[*position].done = Some(self.runs);
        }
        if self.savepoints == 0 {
            let gone = self.pending.extract_if(.., |pending| pending.done.is_some());
            let freed = gone.map(|pending| pending.event.size()).sum();
            self.account.shrink(freed);
        }
    }

    /// A savepoint is opened.
    pub fn mark(&mut self) -> DeferredMark {
        self.savepoints += 1;
        DeferredMark { pending: self.pending.len(), runs: self.runs, modes: self.modes.clone() }
    }

    /// Goes back to a savepoint, of which there are then `savepoints` open ones.
    pub fn rollback_to(&mut self, mark: &DeferredMark, savepoints: usize) {
        self.savepoints = savepoints;
        let freed = self.pending.drain(mark.pending..).map(|pending| pending.event.size()).sum();
        self.account.shrink(freed);
        for pending in &mut self.pending {
            pending.done = pending.done.filter(|run| *run <= mark.runs);
        }
        self.modes = mark.modes.clone();
    }

    /// Savepoints are released; `savepoints` stay open.
    pub fn release(&mut self, savepoints: usize) {
        self.savepoints = savepoints;
    }
}
