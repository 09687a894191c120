//! LISTEN and NOTIFY: how what one session notifies reaches those that listen.
//!
//! ```text
//!   NOTIFY   the session notes the message           session/listen.rs
//!   COMMIT   takes the lock of notifying commits, reserves room for its messages, commits,
//!            and, once it is durable, delivers       Hub::reserve, Hub::deliver
//!                 -> the mailbox of every session of the database that listens to the channel
//!                 -> its bell, which wakes the connection if its client is silent
//! ```
//!
//! Invariants:
//! - Transactions that notify commit one after the other in a database (they hold [`commit_lock`] from before
//!   their commit until they have delivered), so that every session hears of them in the order of their commits.
//! - Delivering never waits: mailboxes have no bound of their own. What lies in all of them together is bounded
//!   by [`QUEUE_BYTES_MAX`], and room is taken *before* a commit, which fails when there is none.
//!
//! Messages are in memory alone. As in PostgreSQL they do not outlive the server, because sessions do not either.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::ObjectId;
use shardforge_pgwire::Notification;
use shardforge_types::{Oid, PgError, PgResult, SqlState};
use tokio::sync::Notify;

use crate::session::lock_kind::NOTIFYING_COMMIT;

/// Memory for messages that have not been sent to all their listeners, in bytes.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a message takes beside its texts, about.
const MESSAGE_BYTES: usize = 128;

/// The lock that notifying transactions of a database take before they commit.
pub fn commit_lock(database: Oid) -> ObjectId {
    ObjectId { class: database.0, kind: NOTIFYING_COMMIT, id: 0 }
}

/// The sessions that listen, and what is on its way to them.
#[derive(Default)]
pub struct Hub {
    databases: Mutex<HashMap<Oid, Vec<Arc<Mailbox>>>>,
    bytes: AtomicUsize,
}

/// Messages that a transaction has room for.
pub struct Reserved {
    messages: Vec<Arc<Message>>,
}

/// A message, for as long as somebody has yet to get it.
struct Message {
    notification: Notification,
    hub: Arc<Hub>,
}

impl Message {
    fn bytes(notification: &Notification) -> usize {
        MESSAGE_BYTES + notification.channel.len() + notification.payload.len()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.hub.bytes.fetch_sub(Message::bytes(&self.notification), Ordering::Relaxed);
    }
}

/// Where the messages for a session wait. Opened by its first LISTEN.
pub struct Mailbox {
    hub: Arc<Hub>,
    database: Oid,
    bell: Arc<Notify>,
    state: Mutex<MailboxState>,
}

#[derive(Default)]
struct MailboxState {
    /// In the order in which they were listened to.
    channels: Vec<Arc<str>>,
    messages: VecDeque<Arc<Message>>,
}

impl Hub {
    /// Takes room for a transaction's messages.
    ///
    /// # Errors
    /// 54000 if there is none.
    pub fn reserve(self: &Arc<Self>, messages: Vec<Notification>) -> PgResult<Reserved> {
        let mut reserved = Vec::with_capacity(messages.len());
        for notification in messages {
            let bytes = Message::bytes(&notification);
            let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
            // From here on its drop gives the room back.
            reserved.push(Arc::new(Message { notification, hub: Arc::clone(self) }));
            if before + bytes > QUEUE_BYTES_MAX {
                let message = "too many notifications in the NOTIFY queue";
                return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                    .hint("A session that listens stays in a transaction, or its client does not read."));
            }
        }
        Ok(Reserved { messages: reserved })
    }

    /// Gives messages to all sessions of a database that listen to their channels.
    pub fn deliver(&self, database: Oid, reserved: &Reserved) {
        let databases = self.databases.lock();
        for mailbox in databases.get(&database).into_iter().flatten() {
            mailbox.put(&reserved.messages);
        }
    }

    /// How full the queue is: from 0 to 1.
    pub fn usage(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64 / QUEUE_BYTES_MAX as f64
    }

    /// A mailbox for a session; [`Mailbox::close`] ends it.
    pub fn open(self: &Arc<Self>, database: Oid) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            hub: Arc::clone(self),
            database,
            bell: Arc::default(),
            state: Mutex::default(),
        });
        self.databases.lock().entry(database).or_default().push(Arc::clone(&mailbox));
        mailbox
    }
}

impl Mailbox {
    /// Rung when messages come.
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// Changes the channels that are listened to.
    pub fn set_channels(&self, change: impl FnOnce(&mut Vec<Arc<str>>)) {
        change(&mut self.state.lock().channels);
    }

    /// The channels that are listened to.
    pub fn channels(&self) -> Vec<Arc<str>> {
        self.state.lock().channels.clone()
    }

    /// What has come, oldest first, on channels that are still listened to.
    pub fn take(&self) -> Vec<Notification> {
        let mut state = self.state.lock();
        let MailboxState { channels, messages } = &mut *state;
        messages
            .drain(..)
            .filter(|message| channels.contains(&message.notification.channel))
            .map(|message| message.notification.clone())
            .collect()
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        let mut databases = self.hub.databases.lock();
        if let Some(mailboxes) = databases.get_mut(&self.database) {
            mailboxes.retain(|other| !std::ptr::eq(&raw const **other, self));
            if mailboxes.is_empty() {
                databases.remove(&self.database);
            }
        }
        *self.state.lock() = MailboxState::default();
    }

    fn put(&self, messages: &[Arc<Message>]) {
        let mut state = self.state.lock();
        let MailboxState { channels, messages: waiting } = &mut *state;
        let before = waiting.len();
        let wanted = messages.iter().filter(|message| channels.contains(&message.notification.channel));
        waiting.extend(wanted.cloned());
        if waiting.len() > before {
            self.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: Oid = Oid(5);

    fn message(channel: &str, payload: &str) -> Notification {
        Notification { process_id: 1, channel: channel.into(), payload: payload.into() }
    }

    fn listening(hub: &Arc<Hub>, database: Oid, channel: &str) -> Arc<Mailbox> {
        let mailbox = hub.open(database);
        mailbox.set_channels(|channels| channels.push(channel.into()));
        mailbox
    }

    fn payloads(mailbox: &Mailbox) -> Vec<String> {
        mailbox.take().into_iter().map(|notification| notification.payload.to_string()).collect()
    }

    #[test]
    fn a_message_goes_to_those_that_listen_in_the_database() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (listening(&hub, DATABASE, "a"), listening(&hub, DATABASE, "b"));
        let elsewhere = listening(&hub, Oid(6), "a");
        let reserved =
            hub.reserve(vec![message("a", "1"), message("b", "2"), message("a", "3")]).expect("room");
        hub.deliver(DATABASE, &reserved);
        assert_eq!(payloads(&a), ["1", "3"]);
        assert_eq!(payloads(&b), ["2"]);
        assert!(elsewhere.take().is_empty());
        assert!(a.take().is_empty());
    }

    #[test]
    fn what_nobody_fetches_fills_the_queue_up_to_its_bound() {
        let hub = Arc::new(Hub::default());
        let slow = listening(&hub, DATABASE, "a");
        let payload = "x".repeat(7_999);
        let mut sent = 0;
        let error = loop {
            match hub.reserve(vec![message("a", &payload)]) {
                Ok(reserved) => hub.deliver(DATABASE, &reserved),
                Err(error) => break error,
            }
            sent += 1;
        };
        assert_eq!(error.sqlstate, SqlState::PROGRAM_LIMIT_EXCEEDED);
        assert!(hub.usage() > 0.99 && hub.usage() <= 1.0, "{}", hub.usage());
        assert_eq!(slow.take().len(), sent);
        assert!(hub.usage() < f64::EPSILON, "{}", hub.usage());
    }

    #[test]
    fn a_mailbox_that_is_closed_takes_nothing() {
        let hub = Arc::new(Hub::default());
        let gone = listening(&hub, DATABASE, "a");
        gone.close();
        hub.deliver(DATABASE, &hub.reserve(vec![message("a", "1")]).expect("room"));
        assert!(gone.take().is_empty());
        assert!(hub.databases.lock().is_empty());
        assert!(hub.usage() < f64::EPSILON);
    }
}
