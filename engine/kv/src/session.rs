//! Locks that outlive a transaction: session-level advisory locks, and those of commands that are several transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::locks::{HeldLock, LockMode, LockName, Owner};
use crate::store::Shared;
use crate::types::{ObjectId, ObjectLockMode, WaitLimits, WaitPolicy};

/// The locks that a session holds beyond its transactions. Each counts how often it was taken; dropping the
/// value releases all of them.
pub struct SessionLocks {
    shared: Arc<Shared>,
    owner: Owner,
    held: Mutex<BTreeMap<(ObjectId, ObjectLockMode), (HeldLock, u32)>>,
}

impl std::fmt::Debug for SessionLocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLocks").field("session", &self.owner.session).finish_non_exhaustive()
    }
}

impl SessionLocks {
    pub(crate) fn new(shared: Arc<Shared>, session: u64) -> Self {
        Self { shared, owner: Owner { session, txn: None }, held: Mutex::default() }
    }

    /// Takes a lock, once more if it is held already.
    ///
    /// # Errors
    /// As [`crate::Transaction::lock_object`].
    pub async fn lock(&self, object: ObjectId, mode: ObjectLockMode, policy: WaitPolicy) -> Result<()> {
        if let Some((_, count)) = self.held.lock().get_mut(&(object, mode)) {
            *count += 1;
            return Ok(());
        }
        let request = (LockName::Object(object), LockMode::Object(mode));
        let lock = self.shared.acquire(request.0, request.1, self.owner, policy).await?;
        if let Some(lock) = lock {
            self.held.lock().insert((object, mode), (lock, 1));
        }
        Ok(())
    }

    /// Waits until those who hold an object in a mode that conflicts with `mode` have given it back. Who takes it
    /// meanwhile is neither waited for nor held up, and nothing is locked.
    ///
    /// # Errors
    /// `LockTimeout`, `Deadlock`.
    pub async fn wait_for_holders(
        &self,
        object: ObjectId,
        mode: ObjectLockMode,
        limits: WaitLimits,
    ) -> Result<()> {
        let (name, mode) = (LockName::Object(object), LockMode::Object(mode));
        let Some(waiting) = self.shared.locks.wait_for_holders(name, mode, self.owner, limits) else {
            return Ok(());
        };
        self.shared.wait(waiting, limits.timeout).await.map(|_| ())
    }

    /// Gives a lock back once; false when it was not held.
    pub fn unlock(&self, object: ObjectId, mode: ObjectLockMode) -> bool {
        let mut held = self.held.lock();
        let Some((lock, count)) = held.get_mut(&(object, mode)) else { return false };
        *count -= 1;
        if *count == 0 {
            self.shared.locks.release(lock, self.owner);
            held.remove(&(object, mode));
        }
        true
    }

    /// What is locked.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        self.held.lock().keys().map(|(object, _)| *object).collect()
    }

    /// Gives all locks back.
    pub fn unlock_all(&self) {
        for (lock, _) in std::mem::take(&mut *self.held.lock()).into_values() {
            self.shared.locks.release(&lock, self.owner);
        }
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.unlock_all();
    }
}
