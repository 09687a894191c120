//! Who is being served, and how far a frontend's end has come.
//!
//! ```text
//!   Open -> Closing: nobody new, idle ones end -> Ending: all are interrupted -> Gone: what is left is dropped
//! ```
//!
//! A connection holds a [`Place`] from its first byte to its last. Whoever shuts the frontend down waits until all
//! places have been given back, and may then take away what the connections were served with.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Open,
    Closing,
    Ending,
    Gone,
}

#[derive(Debug)]
pub(crate) struct Doors {
    phase: watch::Sender<Phase>,
    inside: Arc<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Under a lock, so that nobody comes in after the doors were found closed and nobody inside.
    count: Mutex<Count>,
    empty: Notify,
}

#[derive(Debug, Default)]
struct Count {
    inside: usize,
    closed: bool,
}

impl Default for Doors {
    fn default() -> Doors {
        Doors { phase: watch::Sender::new(Phase::Open), inside: Arc::default() }
    }
}

impl Doors {
    /// A place for a connection, while the doors are open.
    pub(crate) fn enter(&self) -> Option<Place> {
        let mut count = self.inside.count.lock();
        if count.closed {
            return None;
        }
        count.inside += 1;
        Some(Place(Arc::clone(&self.inside)))
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        self.inside.count.lock().inside
    }

    /// Whether nobody is let in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inside.count.lock().closed
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.inside.count.lock().closed = true;
        self.advance(Phase::Closing);
    }

    /// Goes on to a phase, never back.
    pub(crate) fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }

    /// Waits for a phase, or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        // The sender is a part of this, so it is there.
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// Waits until nobody is inside.
    pub(crate) async fn emptied(&self) {
        loop {
            let empty = self.inside.empty.notified();
            tokio::pin!(empty);
            empty.as_mut().enable();
            if self.inside() == 0 {
                return;
            }
            empty.await;
        }
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Inside>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.0.count.lock();
        count.inside -= 1;
        if count.inside == 0 {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{Doors, Phase};

    #[tokio::test]
    async fn nobody_comes_in_after_closing() {
        let doors = Doors::default();
        let (first, second) = (doors.enter().expect("open"), doors.enter().expect("open"));
        doors.close();
        assert!(doors.enter().is_none());
        assert_eq!((doors.inside(), doors.emptied().now_or_never()), (2, None));
        drop((first, second));
        doors.emptied().await;
    }

    #[tokio::test]
    async fn phases_go_forward_only() {
        let doors = Doors::default();
        doors.advance(Phase::Ending);
        doors.close();
        doors.reached(Phase::Ending).await;
        assert_eq!(doors.reached(Phase::Gone).now_or_never(), None);
    }
}
