//! Errors that two sessions had a part in: what they were about, in words that help.
//!
//! The store knows keys, sessions and timestamps. The session that fails translates these, as its error leaves: the key
//! to a table and its columns, the other session to its process number and the statement that got in the way.

use shardforge_kv::{Conflict, DeadlockReport, KvError, LockTarget, ObjectId};
use shardforge_types::PgError;

use super::PgSession;
use super::monitor::lock_kind::{NOTIFYING_COMMIT, RELATION};
use super::monitor::{self, owner_of, process_id};
use crate::storage::{describe_key, storage_of};

/// The cause of an error that ended a wait for a lock.
pub struct Waited(pub LockTarget);

/// What an error is about.
struct Subject {
    schema: String,
    table: String,
    /// The index whose entry it is, unless it is the row itself.
    index: Option<String>,
    /// Columns and values of its key.
    key: Option<String>,
}

impl Subject {
    /// As in `row (id)=(1) of table "t"`.
    fn text(&self) -> String {
        let key = self.key.as_ref().map_or_else(String::new, |key| format!(" {key}"));
        match &self.index {
            Some(index) => format!("key{key} of index \"{index}\" of table \"{}\"", self.table),
            None if self.key.is_some() => format!("row{key} of table \"{}\"", self.table),
            None => format!("a row of table \"{}\"", self.table),
        }
    }

    /// As in PostgreSQL's `tuple (0,1) in relation "t"`.
    fn tuple(&self) -> String {
        let (what, relation) = match &self.index {
            Some(index) => ("index tuple", index),
            None => ("tuple", &self.table),
        };
        let key = self.key.as_ref().map_or_else(String::new, |key| format!(" {key}"));
        format!("{what}{key} in relation \"{relation}\"")
    }
}

impl PgSession {
    /// Says in an error that other sessions had a part in what it was about, and what they did.
    pub(super) fn explained(&mut self, error: PgError) -> PgError {
        if let Some(Waited(target)) = error.cause() {
            let target = target.clone();
            return self.while_waiting(error, &target);
        }
        match error.cause::<KvError>().cloned() {
            Some(KvError::SerializationFailure(conflict)) => {
                let what = if conflict.deleted { "deleted" } else { "changed" };
                self.conflict(error, &conflict, |subject, by| {
                    format!("{by} has {what} {subject} since this transaction took its snapshot.")
                })
            }
            Some(KvError::ReadWriteConflict(conflict)) => {
                let what = if conflict.deleted { "deleted" } else { "written" };
                self.conflict(error, &conflict, |subject, by| {
                    format!("This transaction has read {subject}, which {by} has {what} since.")
                })
            }
            Some(KvError::Deadlock(report)) => self.deadlock(error, &report),
            Some(KvError::LockTimeout(target)) => {
                let error = self.held_by(error, &target);
                self.while_waiting(error, &target)
            }
            Some(KvError::LockNotAvailable(target)) => {
                let mut error = self.held_by(error, &target);
                if let LockTarget::Object(object) = target
                    && let Some(name) = self.relation_name(object)
                {
                    error.fields_mut().message = format!("could not obtain lock on relation \"{name}\"");
                } else if let LockTarget::Row(key) = target
                    && let Some(subject) = self.subject(&key)
                {
                    error.fields_mut().message =
                        format!("could not obtain lock on row in relation \"{}\"", subject.table);
                }
                error
            }
            _ => error,
        }
    }

    /// What a key is of, unless it is nothing that a user knows of.
    fn subject(&mut self, key: &[u8]) -> Option<Subject> {
        let (catalog, table, index) = owner_of(&self.engine, storage_of(key)?)?;
        let layout = self.engine.layout(&table, &catalog).ok()?;
        let env = self.eval_env();
        Some(Subject {
            schema: catalog.schemas.get(&table.schema).map_or_else(String::new, |schema| schema.name.clone()),
            table: table.name.clone(),
            index: index.map(|index| table.indexes[index].name.clone()),
            key: describe_key(&layout, key, &env),
        })
    }

    fn relation_name(&self, object: ObjectId) -> Option<String> {
        if object.kind != RELATION || object.class != self.database.0 {
            return None;
        }
        let relation = self.published.relation(shardforge_types::Oid(object.id as u32))?;
        Some(relation.name().to_owned())
    }

    /// A transaction that another one has made impossible.
    fn conflict(
        &mut self,
        error: PgError,
        conflict: &Conflict,
        word: impl FnOnce(&str, &str) -> String,
    ) -> PgError {
        let subject = self.subject(&conflict.key);
        let other = self.engine.sessions.committed_at(conflict.commit_ts);
        let text = subject.as_ref().map_or_else(|| "a row".to_owned(), Subject::text);
        let by = match &other {
            Some(commit) => format!("process {}", commit.pid),
            None => "another transaction".to_owned(),
        };
        let mut detail = word(&text, &by);
        // A sentence begins with a capital letter.
        detail[..1].make_ascii_uppercase();
        let own = (self.activity.pid, self.activity.now().statement);
        let other = other.map(|commit| (commit.pid, commit.statement));
        for (pid, statement) in std::iter::once(own).chain(other) {
            detail.push_str(&format!("\nProcess {pid}: {}", clipped(&statement)));
        }
        let error = error.detail(detail);
        match subject {
            Some(subject) => error.schema(subject.schema).table(subject.table),
            None => error,
        }
    }

    fn deadlock(&mut self, error: PgError, report: &DeadlockReport) -> PgError {
        let mut lines = Vec::new();
        for wait in &report.waits {
            let mut line = wait.detail(|object| match object.kind {
                RELATION => format!("relation {} of database {}", object.id, object.class),
                NOTIFYING_COMMIT => "object 0 of class 1262 of database 0".to_owned(),
                kind => {
                    let (class, id, _) = monitor::advisory_key(object);
                    format!("advisory lock [{},{class},{id},{kind}]", object.class)
                }
            });
            let about = match &wait.target {
                LockTarget::Row(key) => self.subject(key).map(|subject| subject.text()),
                LockTarget::Object(object) => {
                    self.relation_name(*object).map(|name| format!("relation \"{name}\""))
                }
                LockTarget::Transaction(_) => None,
            };
            if let Some(about) = about {
                line.push_str(&format!(" It wants to lock {about}."));
            }
            lines.push(line);
        }
        for wait in &report.waits {
            let pid = process_id(wait.session);
            if let Some(session) = self.engine.sessions.get(pid) {
                lines.push(format!("Process {pid}: {}", clipped(&session.now().statement)));
            }
        }
        let error = error.detail(lines.join("\n")).hint(
            "The transaction might succeed if retried. \
             Transactions that take their locks in the same order do not block each other in a circle.",
        );
        match report.waits.first() {
            Some(wait) => self.while_waiting(error, &wait.target),
            None => error,
        }
    }

    /// Adds who holds what could not be locked.
    fn held_by(&mut self, error: PgError, target: &LockTarget) -> PgError {
        let own = self.activity.pid;
        let holders = self.engine.store.holders(target).into_iter().map(process_id);
        let lines: Vec<String> = holders
            .filter(|pid| *pid != own)
            .filter_map(|pid| self.engine.sessions.get(pid))
            .map(|session| {
                let statement = session.now().statement;
                format!("Process {} holds the lock: {}", session.pid, clipped(&statement))
            })
            .collect();
        if lines.is_empty() { error } else { error.detail(lines.join("\n")) }
    }

    /// Adds the CONTEXT of an error that came while a row's lock was waited for.
    fn while_waiting(&mut self, error: PgError, target: &LockTarget) -> PgError {
        let LockTarget::Row(key) = target else { return error };
        match self.subject(key) {
            Some(subject) => error.context(format!("while {} {}", self.doing, subject.tuple())),
            None => error,
        }
    }
}

/// The beginning of a statement, as much as helps.
fn clipped(statement: &str) -> &str {
    statement[..statement.floor_char_boundary(STATEMENT_BYTES_MAX)].trim_end()
}

/// How much of a statement a DETAIL shows.
const STATEMENT_BYTES_MAX: usize = 1000;
