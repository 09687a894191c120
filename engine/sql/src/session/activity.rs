//! What sessions do, kept where others can see it: for `pg_stat_activity`, `pg_locks`, and for the DETAIL of an error
//! that two sessions had a part in.
//!
//! A session writes to its own [`SessionActivity`], and hardly anybody reads it: a statement costs a lock that nobody
//! contends for and a pointer to its text.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{Timestamp, Transaction, TxnId};
use shardforge_types::Oid;

use super::settings::SessionSettings;
use crate::catalog::pg_catalog::IndexProgress;

/// The sessions of a server, and what they committed lately.
#[derive(Default)]
pub struct SessionDirectory {
    /// By process number.
    sessions: Mutex<HashMap<i32, Arc<SessionActivity>>>,
    /// Oldest first, about.
    commits: Mutex<VecDeque<Commit>>,
}

/// A commit of a transaction that others may know of.
#[derive(Clone)]
pub struct Commit {
    /// The transaction.
    pub txn: TxnId,
    /// Where it stands among all commits.
    pub at: Timestamp,
    /// The session.
    pub pid: i32,
    /// Its last statement that wrote something.
    pub statement: Arc<str>,
}

/// What a session does.
pub struct SessionActivity {
    /// Its process number.
    pub pid: i32,
    /// Its database.
    pub database: Oid,
    /// Its settings.
    pub settings: Arc<SessionSettings>,
    now: Mutex<Now>,
}

/// A session at one moment. Times are microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Default)]
pub struct Now {
    /// The text of the running statement, or of the last one.
    pub statement: Arc<str>,
    /// When it came.
    pub statement_start: i64,
    /// The open transaction, and when it began.
    pub transaction: Option<(Arc<Transaction>, i64)>,
    /// How many transactions there have been.
    pub transactions: u64,
    /// It sleeps, because a function was asked to.
    pub sleeps: bool,
    /// The index that it makes.
    pub index: Option<IndexProgress>,
    /// The last statement of the open transaction that wrote something.
    wrote: Option<Arc<str>>,
}

/// Commits that are remembered, to tell who was in the way of others.
const COMMITS_MAX: usize = 8_192;

/// Of statements longer than this many bytes, the beginning alone is remembered with a commit.
const COMMIT_STATEMENT_BYTES_MAX: usize = 1_000;

/// A session's place in the directory, given back when it is dropped.
pub struct Listed {
    directory: Arc<SessionDirectory>,
    activity: Arc<SessionActivity>,
}

impl SessionDirectory {
    /// Adds a session.
    pub fn add(self: &Arc<Self>, pid: i32, database: Oid, settings: Arc<SessionSettings>) -> Listed {
        let activity = Arc::new(SessionActivity { pid, database, settings, now: Mutex::default() });
        self.sessions.lock().insert(pid, activity.clone());
        Listed { directory: self.clone(), activity }
    }

    /// The session of a process number.
    pub fn get(&self, pid: i32) -> Option<Arc<SessionActivity>> {
        self.sessions.lock().get(&pid).cloned()
    }

    /// All sessions, by process number.
    pub fn all(&self) -> Vec<Arc<SessionActivity>> {
        let mut all: Vec<_> = self.sessions.lock().values().cloned().collect();
        all.sort_unstable_by_key(|session| session.pid);
        all
    }

    /// The commit of a timestamp; `None` when it has been forgotten.
    pub fn committed_at(&self, commit: Timestamp) -> Option<Commit> {
        self.commits.lock().iter().rev().find(|other| other.at == commit).cloned()
    }

    /// Whether a transaction is known to have been committed.
    pub fn is_committed(&self, txn: TxnId) -> bool {
        self.commits.lock().iter().any(|commit| commit.txn == txn)
    }

    /// The ids of transactions that are open, or were committed after a snapshot was taken; `None` when that is too
    /// long ago to know.
    pub fn unseen_by(&self, snapshot: Timestamp) -> Option<Vec<TxnId>> {
        // First who is open, then who has committed: who does so in between is found twice, not missed.
        let sessions = self.all();
        let open =
            sessions.iter().filter_map(|session| Some(session.now.lock().transaction.as_ref()?.0.id()));
        let mut unseen: Vec<TxnId> = open.collect();
        let commits = self.commits.lock();
        if commits.len() == COMMITS_MAX && commits.front().is_some_and(|oldest| oldest.at > snapshot) {
            return None;
        }
        unseen.extend(commits.iter().filter(|commit| commit.at > snapshot).map(|commit| commit.txn));
        Some(unseen)
    }

    /// Remembers the commit of a session's open transaction.
    pub fn committed(&self, session: &SessionActivity, txn: &Transaction, at: Timestamp) {
        if !txn.is_assigned() {
            return;
        }
        let statement = session.now.lock().wrote.take().unwrap_or_default();
        let statement = match statement.get(..statement.floor_char_boundary(COMMIT_STATEMENT_BYTES_MAX)) {
            Some(beginning) if beginning.len() < statement.len() => beginning.into(),
            _ => statement,
        };
        self.remember(Commit { txn: txn.id(), at, pid: session.pid, statement });
    }

    /// Remembers a commit.
    pub fn remember(&self, commit: Commit) {
        let mut commits = self.commits.lock();
        let forgotten = if commits.len() == COMMITS_MAX { commits.pop_front() } else { None };
        commits.push_back(commit);
        drop(commits);
        drop(forgotten);
    }
}

/// An index in the making, seen by others until this is dropped.
pub struct ShownProgress(Arc<SessionActivity>);

impl ShownProgress {
    /// Something else is done to the index now.
    pub fn phase(&self, phase: &'static str) {
        self.change(|progress| progress.phase = phase);
    }

    /// So many more rows of its table have been read.
    pub fn rows(&self, count: usize) {
        self.change(|progress| progress.rows += count as u64);
    }

    fn change(&self, change: impl FnOnce(&mut IndexProgress)) {
        if let Some(progress) = &mut self.0.now.lock().index {
            change(progress);
        }
    }
}

impl Drop for ShownProgress {
    fn drop(&mut self) {
        self.0.now.lock().index = None;
    }
}

impl std::ops::Deref for Listed {
    type Target = Arc<SessionActivity>;

    fn deref(&self) -> &Arc<SessionActivity> {
        &self.activity
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.directory.sessions.lock().remove(&self.activity.pid);
    }
}

impl SessionActivity {
    /// What it does now.
    pub fn now(&self) -> Now {
        self.now.lock().clone()
    }

    /// A statement came.
    pub fn begin_statement(&self, text: Arc<str>, at: i64) {
        let mut now = self.now.lock();
        now.statement_start = at;
        let before = std::mem::replace(&mut now.statement, text);
        drop(now);
        drop(before);
    }

    /// The running statement is about to write.
    pub fn writes(&self) {
        let mut now = self.now.lock();
        now.wrote = Some(now.statement.clone());
    }

    /// A transaction began, or the open one ended.
    pub fn set_transaction(&self, transaction: Option<(Arc<Transaction>, i64)>) {
        let mut now = self.now.lock();
        now.transactions += u64::from(transaction.is_some());
        now.wrote = None;
        let before = std::mem::replace(&mut now.transaction, transaction);
        drop(now);
        drop(before);
    }

    /// An index is about to be made.
    pub fn makes_index(self: &Arc<Self>, progress: IndexProgress) -> ShownProgress {
        self.now.lock().index = Some(progress);
        ShownProgress(self.clone())
    }

    /// A function sleeps, or has slept.
    pub fn sleeps(&self, sleeps: bool) {
        self.now.lock().sleeps = sleeps;
    }
}
