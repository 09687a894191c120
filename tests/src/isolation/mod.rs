//! A runner of isolation specs, in the format of PostgreSQL's `src/test/isolation`.
//!
//! A spec says which sessions there are, which steps each has, and in which orders (permutations) the steps are taken:
//!
//! ```text
//! setup       { CREATE TABLE t (a int); INSERT INTO t VALUES (1); }
//! teardown    { DROP TABLE t; }
//!
//! session s1
//! setup       { BEGIN; }
//! step s1u    { UPDATE t SET a = 2; }
//! step s1c    { COMMIT; }
//!
//! session s2
//! step s2u    { UPDATE t SET a = a + 10; }
//!
//! permutation s1u s2u s1c
//! ```
//!
//! Each session is a connection. A step is sent, and the runner goes on when it is done, or when the server says that it
//! waits for a lock of another session of the spec (`pg_isolation_test_session_is_blocked`, asked on a connection of its
//! own). A step that waits is looked at again after each further step. What comes of it is a text, equal to what
//! `isolationtester` of PostgreSQL prints, to be compared with one that was recorded from PostgreSQL:
//!
//! ```text
//! starting permutation: s1u s2u s1c
//! step s1u: UPDATE t SET a = 2;
//! step s2u: UPDATE t SET a = a + 10; <waiting ...>
//! step s1c: COMMIT;
//! step s2u: <... completed>
//! ```
//!
//! - [`Spec`] reads a file;
//! - a connection (`connection.rs`) turns what the server sends into events, in their order;
//! - [`run`] takes the permutations and writes the [`Transcript`];
//! - [`Database`] is made for a spec;
//! - `table.rs` shows rows as libpq's `PQprint` does.
//!
//! Beyond `isolationtester`, a session whose connection the server ended (by a timeout) is connected anew for the next
//! permutation, and a wait is seen in any statement of a step, not only in the first.

mod connection;
mod database;
mod run;
mod spec;
mod table;

pub use database::Database;
pub use run::{Outcome, PermutationRun, RunError, Transcript, run};
pub use spec::{Blocker, PermutationStep, Session, Spec, SpecError, Step};
