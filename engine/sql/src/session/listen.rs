//! LISTEN, UNLISTEN and NOTIFY of one session: noted while its transaction runs, done when that commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashSet;
use parking_lot::Mutex;
use shardforge_pgwire::Notification;
use shardforge_types::{Oid, PgError, PgResult, SqlState};
use tokio::sync::Notify;

use crate::notify::{Hub, Mailbox, Reserved};

/// Bytes of a channel's name at most: one less than PostgreSQL's NAMEDATALEN.
const CHANNEL_BYTES_MAX: usize = 63;

/// Bytes of a payload at most: what PostgreSQL finds room for in a page of its queue.
const PAYLOAD_BYTES_MAX: usize = 7_999;

/// A session's part in LISTEN and NOTIFY.
pub struct Listener {
    hub: Arc<Hub>,
    database: Oid,
    process_id: i32,
    /// Once the session has listened.
    mailbox: Mutex<Option<Arc<Mailbox>>>,
    listens: AtomicBool,
    pending: Mutex<Pending>,
    /// Whether `pending` has anything: asked at every commit.
    is_pending: AtomicBool,
}

/// What a transaction does when it commits.
#[derive(Default)]
pub struct Pending {
    actions: Vec<Action>,
    messages: Vec<Notification>,
    /// What `messages` holds already: the same message is sent once a transaction.
    seen: HashSet<(Arc<str>, Arc<str>)>,
}

/// What a transaction does when it commits, with room for its messages.
pub struct Ready {
    actions: Vec<Action>,
    messages: Reserved,
}

enum Action {
    Listen(Arc<str>),
    Unlisten(Arc<str>),
    UnlistenAll,
}

/// How much a transaction had noted when a savepoint was set.
#[derive(Clone, Copy)]
pub struct PendingMark {
    actions: usize,
    messages: usize,
}

impl Listener {
    /// The part of a session that listens to nothing yet.
    pub fn new(hub: Arc<Hub>, database: Oid, process_id: i32) -> Listener {
        Listener {
            hub,
            database,
            process_id,
            mailbox: Mutex::default(),
            listens: AtomicBool::new(false),
            pending: Mutex::default(),
            is_pending: AtomicBool::new(false),
        }
    }

    /// LISTEN.
    pub fn listen(&self, channel: &str) {
        self.note(Action::Listen(channel.into()));
    }

    /// UNLISTEN; of all channels without a name.
    pub fn unlisten(&self, channel: Option<&str>) {
        if !self.is_pending() && !self.listens.load(Ordering::Relaxed) {
            return;
        }
        self.note(channel.map_or(Action::UnlistenAll, |channel| Action::Unlisten(channel.into())));
    }

    fn note(&self, action: Action) {
        self.pending.lock().actions.push(action);
        self.is_pending.store(true, Ordering::Relaxed);
    }

    /// NOTIFY.
    ///
    /// # Errors
    /// 22023 if the channel's name or the payload is too long, or the name empty.
    pub fn notify(&self, channel: &str, payload: &str) -> PgResult<()> {
        let problem = if channel.is_empty() {
            "channel name cannot be empty"
        } else if channel.len() > CHANNEL_BYTES_MAX {
            "channel name too long"
        } else if payload.len() > PAYLOAD_BYTES_MAX {
            "payload string too long"
        } else {
            let (channel, payload): (Arc<str>, Arc<str>) = (channel.into(), payload.into());
            let mut pending = self.pending.lock();
            if pending.seen.insert((channel.clone(), payload.clone())) {
                pending.messages.push(Notification { process_id: self.process_id, channel, payload });
                self.is_pending.store(true, Ordering::Relaxed);
            }
            return Ok(());
        };
        Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, problem))
    }

    /// Whether the transaction has executed LISTEN, UNLISTEN or NOTIFY.
    pub fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Relaxed)
    }

    /// What has been noted so far.
    pub fn mark(&self) -> PendingMark {
        let pending = self.pending.lock();
        PendingMark { actions: pending.actions.len(), messages: pending.messages.len() }
    }

    /// Forgets what was noted since.
    pub fn rollback_to(&self, mark: PendingMark) {
        if !self.is_pending() {
            return;
        }
        let mut pending = self.pending.lock();
        let Pending { actions, messages, seen } = &mut *pending;
        actions.truncate(mark.actions);
        for Notification { channel, payload, .. } in messages.drain(mark.messages..) {
            seen.remove(&(channel, payload));
        }
    }

    /// Takes what the transaction is to do when it commits; `None` if that is nothing.
    pub fn take_pending(&self) -> Option<Pending> {
        self.is_pending.swap(false, Ordering::Relaxed).then(|| std::mem::take(&mut *self.pending.lock()))
    }

    /// Makes ready what the transaction noted, while it can still fail.
    ///
    /// # Errors
    /// 54000 if there is no room for its messages.
    pub fn prepare(&self, pending: Pending) -> PgResult<Ready> {
        Ok(Ready { actions: pending.actions, messages: self.hub.reserve(pending.messages)? })
    }

    /// Does what the transaction noted, now that it has committed.
    pub fn committed(&self, prepared: Ready) {
        for action in prepared.actions {
            self.act(action);
        }
        self.hub.deliver(self.database, &prepared.messages);
    }

    fn act(&self, action: Action) {
        let mut mailbox = self.mailbox.lock();
        match action {
            Action::Listen(channel) => {
                self.listens.store(true, Ordering::Relaxed);
                let mailbox = mailbox.get_or_insert_with(|| self.hub.open(self.database));
                mailbox.set_channels(|channels| {
                    if !channels.contains(&channel) {
                        channels.push(channel);
                    }
                });
            }
            Action::Unlisten(channel) => {
                if let Some(mailbox) = &*mailbox {
                    mailbox.set_channels(|channels| channels.retain(|other| *other != channel));
                }
            }
            Action::UnlistenAll => {
                if let Some(mailbox) = mailbox.take() {
                    mailbox.close();
                }
                self.listens.store(false, Ordering::Relaxed);
            }
        }
    }

    /// The session ends.
    pub fn close(&self) {
        self.act(Action::UnlistenAll);
    }

    /// The channels that the session listens to.
    pub fn channels(&self) -> Vec<Arc<str>> {
        self.mailbox.lock().as_ref().map(|mailbox| mailbox.channels()).unwrap_or_default()
    }

    /// How full the queue of notifications is: from 0 to 1.
    pub fn queue_usage(&self) -> f64 {
        self.hub.usage()
    }

    /// Notifications that have come.
    pub fn take(&self) -> Vec<Notification> {
        if !self.listens.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.mailbox.lock().as_ref().map(|mailbox| mailbox.take()).unwrap_or_default()
    }

    /// Rung when notifications come.
    pub fn bell(&self) -> Option<Arc<Notify>> {
        if !self.listens.load(Ordering::Relaxed) {
            return None;
        }
        self.mailbox.lock().as_ref().map(|mailbox| mailbox.bell())
    }
}

impl Pending {
    /// Whether somebody may be notified.
    pub fn notifies(&self) -> bool {
        !self.messages.is_empty()
    }
}
