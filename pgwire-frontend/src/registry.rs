//! All connections of a server: who is there, and how to reach it.
//!
//! A connection is registered when its startup packet is read and removed when it ends. Looking one up
//! by its process id and secret key is how CancelRequest works; shutdown raises every token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rand::RngCore;
use shardforge_types::{PgResult, SqlState};

use crate::cancel::{CancelReason, CancelToken, ConnectionState};
use crate::connection::shutting_down;
use crate::encode::fatal;
use crate::limits::CANCEL_KEY_BYTES;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ConnectionRegistry {
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    by_id: BTreeMap<i32, Entry>,
    last_id: i32,
    closing: bool,
}

#[derive(Debug)]
struct Entry {
    info: ConnectionInfo,
    key: Vec<u8>,
    cancel: CancelToken,
}

/// What is known of a connection without asking its session.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// `pg_backend_pid()`.
    pub process_id: i32,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The client's address.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub since: SystemTime,
    /// What it does at this moment.
    pub state: ConnectionState,
    /// Since when it waits for its client; of one that does not, when it last began to.
    pub idle_since: SystemTime,
}

impl ConnectionRegistry {
    /// The connections at this moment, by process id.
    pub fn list(&self) -> Vec<ConnectionInfo> {
        let info = |entry: &Entry| ConnectionInfo {
            state: entry.cancel.state(),
            idle_since: entry.cancel.idle_since(),
            ..entry.info.clone()
        };
        self.connections.lock().by_id.values().map(info).collect()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.lock().by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops what the connection runs (`pg_cancel_backend`); false if there is no such connection.
    pub fn cancel(&self, process_id: i32) -> bool {
        self.raise(process_id, CancelReason::User)
    }

    /// Ends the connection (`pg_terminate_backend`); false if there is no such connection.
    pub fn terminate(&self, process_id: i32) -> bool {
        self.raise(process_id, CancelReason::Terminate)
    }

    fn raise(&self, process_id: i32, reason: CancelReason) -> bool {
        match self.connections.lock().by_id.get(&process_id) {
            Some(entry) => {
                entry.cancel.cancel(reason);
                true
            }
            None => false,
        }
    }

    /// A CancelRequest: does nothing unless the key is the connection's.
    pub(crate) fn cancel_with_key(&self, process_id: i32, key: &[u8]) -> bool {
        match self.connections.lock().by_id.get(&process_id) {
            Some(entry) if equal_in_constant_time(&entry.key, key) => {
                entry.cancel.cancel(CancelReason::User);
                true
            }
            _ => false,
        }
    }

    /// Adds a connection, unless there are `connections_max` already or the server shuts down.
    pub(crate) fn register(
        self: &Arc<Self>,
        user: &str,
        database: &str,
        peer: SocketAddr,
        long_key: bool,
        connections_max: usize,
    ) -> PgResult<Registration> {
        let mut key = vec![0; if long_key { CANCEL_KEY_BYTES } else { 4 }];
        rand::rng().fill_bytes(&mut key);
        let cancel = CancelToken::new();
        let mut connections = self.connections.lock();
        if connections.closing {
            return Err(shutting_down());
        }
        if connections.by_id.len() >= connections_max {
            return Err(fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already"));
        }
        let process_id = connections.next_id();
        let info = ConnectionInfo {
            process_id,
            user: user.into(),
            database: database.into(),
            peer,
            since: SystemTime::now(),
            state: ConnectionState::Starting,
            idle_since: SystemTime::now(),
        };
        connections.by_id.insert(process_id, Entry { info, key: key.clone(), cancel: cancel.clone() });
        let position = connections.by_id.len();
        Ok(Registration { registry: Arc::clone(self), process_id, key, cancel, position })
    }

    /// No connection is welcome any more, and those that wait for their clients end.
    pub(crate) fn close(&self) {
        let mut connections = self.connections.lock();
        connections.closing = true;
        for entry in connections.by_id.values() {
            entry.cancel.drain();
        }
    }

    /// Interrupts every connection, whatever it does.
    pub(crate) fn terminate_all(&self) {
        for entry in self.connections.lock().by_id.values() {
            entry.cancel.cancel(CancelReason::Terminate);
        }
    }
}

/// A connection's place in the registry; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<ConnectionRegistry>,
    pub(crate) process_id: i32,
    /// The secret of a CancelRequest: 4 bytes, or long for protocol 3.2.
    pub(crate) key: Vec<u8>,
    pub(crate) cancel: CancelToken,
    /// How many connections there were, this one included, when it came.
    pub(crate) position: usize,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.connections.lock().by_id.remove(&self.process_id);
    }
}

impl Connections {
    /// Process ids are positive, go up, and are not used twice at a time.
    fn next_id(&mut self) -> i32 {
        loop {
            self.last_id = if self.last_id == i32::MAX { 1 } else { self.last_id + 1 };
            if !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

/// Compares without telling by its time where two keys differ.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
