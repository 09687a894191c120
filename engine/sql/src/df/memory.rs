//! Memory that statements use outside DataFusion's operators, on the account of the same pool.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use shardforge_types::PgResult;

use super::DfRuntime;
use super::error::from_df;

/// What one statement, or one cursor, has taken of `query_memory`; given back when dropped.
pub struct MemoryAccount {
    pool: Arc<dyn MemoryPool>,
    purpose: &'static str,
    used: usize,
    /// Opened when more is used than needs no account.
    reservation: Option<MemoryReservation>,
}

impl DfRuntime {
    /// An account for a purpose, which errors name.
    pub fn account(&self, purpose: &'static str) -> MemoryAccount {
        MemoryAccount { pool: self.environment.memory_pool.clone(), purpose, used: 0, reservation: None }
    }
}

impl MemoryAccount {
    /// Takes more.
    ///
    /// # Errors
    /// 53200 if the pool has no more.
    pub fn grow(&mut self, bytes: usize) -> PgResult<()> {
        self.used = self.used.saturating_add(bytes);
        let reserved = self.reservation.as_ref().map_or(FREE_BYTES, MemoryReservation::size);
        if self.used <= reserved {
            return Ok(());
        }
        let (pool, purpose) = (&self.pool, self.purpose);
        let reservation = self.reservation.get_or_insert_with(|| MemoryConsumer::new(purpose).register(pool));
        reservation.try_resize(self.used.saturating_add(STEP_BYTES)).map_err(from_df)
    }

    /// Gives some of it back.
    pub fn shrink(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        if let Some(reservation) = &self.reservation
            && reservation.size() > self.used.saturating_add(2 * STEP_BYTES)
        {
            reservation.resize(self.used + STEP_BYTES);
        }
    }
}

/// Below it nothing is asked of the pool, which all statements share.
const FREE_BYTES: usize = 64 << 10;
/// What is reserved in advance.
const STEP_BYTES: usize = 256 << 10;
