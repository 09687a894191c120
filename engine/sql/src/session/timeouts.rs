//! Time limits of statements and transactions: `statement_timeout`, `transaction_timeout`.
//!
//! A limit is a task that sleeps and then raises the session's cancel token; whatever the session does looks at that,
//! functions that compute or wait included. Of several limits, the one that is over first is told of. Waits for locks
//! have their limit in the store (`lock_timeout`), and idle clients theirs in the frontend.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardforge_pgwire::{CancelReason, CancelToken};
use shardforge_runtime::{Runtime, TaskHandle};

/// A limit that runs. Dropped, it is lifted.
pub struct TimeLimit {
    task: TaskHandle<()>,
    cancel: CancelToken,
    reason: CancelReason,
    lifted: Arc<Mutex<bool>>,
}

impl TimeLimit {
    /// Raises `cancel` for this reason after a time, unless lifted before.
    pub fn start(
        runtime: &Runtime,
        cancel: &CancelToken,
        reason: CancelReason,
        after: Duration,
    ) -> TimeLimit {
        let lifted = Arc::new(Mutex::new(false));
        let (token, is_lifted, sleep) = (cancel.clone(), lifted.clone(), runtime.sleep(after));
        let task = runtime.spawn("time limit", async move {
            sleep.await;
            let lifted = is_lifted.lock();
            if !*lifted {
                token.cancel(reason);
            }
        });
        TimeLimit { task, cancel: cancel.clone(), reason, lifted }
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        // Under the lock: from here on the task raises nothing more, and what it has raised hits nobody else.
        *self.lifted.lock() = true;
        self.task.abort();
        self.cancel.withdraw(self.reason);
    }
}
