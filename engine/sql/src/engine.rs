//! [`Engine`]: what all sessions of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{Store, Timestamp};
use shardforge_runtime::Runtime;
use shardforge_types::{Oid, PgError, PgResult};

use crate::bind::{self, BindContext};
use crate::catalog::{Catalog, CatalogSnapshot, Change, IndexDesc, StorageId, TableDesc, YoungIndexes};
use crate::cluster::ClusterControl;
use crate::df::DfRuntime;
use crate::exec::env::EvalEnv;
use crate::exec::eval::CompiledExpr;
use crate::notify::Hub;
use crate::parse;
use crate::session::{ExportedSnapshots, SessionDirectory};
use crate::storage::TableLayout;

/// Settings of the SQL layer that are fixed at start.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Memory for sorts, joins and groupings of all queries together, in bytes. What does not fit spills to
    /// disk where it can and fails with 53200 where it cannot.
    pub query_memory_bytes: usize,
    /// Where queries spill to.
    pub spill_dir: std::path::PathBuf,
    /// What `max_connections` shows.
    pub max_connections: u32,
    /// How many transactions may be prepared at once. 0: PREPARE TRANSACTION is refused.
    pub max_prepared_transactions: u32,
    /// What `data_directory` shows.
    pub data_dir: std::path::PathBuf,
    /// The cluster that the node is part of; absent: it is alone.
    pub cluster: Option<Arc<dyn ClusterControl>>,
}

/// The SQL engine of one server.
pub struct Engine {
    /// The key-value store.
    pub store: Store,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// Tables, roles, ...
    pub catalog: Catalog,
    /// DataFusion's shared state.
    pub df: DfRuntime,
    /// Who listens to what.
    pub hub: Arc<Hub>,
    /// Fixed settings.
    pub options: EngineOptions,
    /// Who is connected, and what they do.
    pub sessions: Arc<SessionDirectory>,
    /// Snapshots that transactions export.
    pub exported: Arc<ExportedSnapshots>,
    /// Microseconds since 2000-01-01, when the server started.
    pub started_at: i64,
    row_ids: AtomicU64,
    young_indexes: YoungIndexes,
    layouts: Mutex<HashMap<Oid, Arc<TableLayout>>>,
}

/// Names of the counters that hand out identifiers, in `shardforge_kv`'s counter space.
mod counter {
    /// Object ids.
    pub const OID: u64 = 1;
    /// Storage ids.
    pub const STORAGE: u64 = 2;
}

impl Engine {
    /// Opens the SQL layer over a store.
    ///
    /// # Errors
    /// What the store raises; XX001 if the catalog is damaged.
    pub async fn open(store: Store, runtime: Runtime, options: EngineOptions) -> PgResult<Arc<Engine>> {
        let catalog = Catalog::open(&store).await?;
        let df = DfRuntime::new(&options)?;
        let started_at = pg_micros(&runtime);
        let row_ids = AtomicU64::new(store.now().as_u64());
        Ok(Arc::new(Engine {
            store,
            runtime,
            catalog,
            df,
            hub: Arc::default(),
            options,
            sessions: Arc::default(),
            exported: Arc::default(),
            started_at,
            row_ids,
            young_indexes: YoungIndexes::default(),
            layouts: Mutex::new(HashMap::new()),
        }))
    }

    /// Makes known what a transaction changed in the catalog, which it committed at `commit_ts`.
    pub fn publish(&self, database: Oid, changes: &[Change], commit_ts: Timestamp) {
        // First the age of its indexes, then the indexes: who finds one knows from when on it can be read.
        let (before, oldest) = (self.catalog.snapshot(database), self.store.oldest_readable());
        self.young_indexes.note(before.as_deref(), changes, commit_ts, oldest);
        self.catalog.publish(database, changes);
    }

    /// Whether all indexes have the rows that any snapshot in use shows.
    pub fn all_indexes_are_old(&self) -> bool {
        self.young_indexes.is_empty()
    }

    /// Whether an index can be read at a snapshot. One that was made later has the versions of that moment and of none
    /// before.
    pub fn is_readable_at(&self, index: &IndexDesc, read_ts: Timestamp) -> bool {
        !self.young_indexes.is_younger(index.storage, read_ts)
    }

    /// Microseconds since 2000-01-01 00:00 UTC.
    pub fn clock_micros(&self) -> i64 {
        pg_micros(&self.runtime)
    }

    /// The next hidden row id: ascending, and never given twice, also not across restarts, because it begins
    /// above the store's clock, which is above all that was ever committed, and grows slower than it.
    pub fn next_row_id(&self) -> u64 {
        self.row_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands out an object id.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn next_oid(&self) -> PgResult<Oid> {
        let first = crate::catalog::well_known::FIRST_USER_OID.0;
        let value = self.store.next_id(counter::OID).await.map_err(crate::session::error::from_kv)?;
        u32::try_from(u64::from(first) + value)
            .map(Oid)
            .map_err(|_| PgError::internal("object ids are exhausted"))
    }

    /// Hands out a storage id.
    ///
    /// # Errors
    /// What the store raises.
    pub async fn next_storage_id(&self) -> PgResult<StorageId> {
        let value = self.store.next_id(counter::STORAGE).await.map_err(crate::session::error::from_kv)?;
        u32::try_from(value + 1).map(StorageId).map_err(|_| PgError::internal("storage ids are exhausted"))
    }

    /// Gives the storage of a dropped or rewritten relation back, in the background.
    pub fn reclaim(self: &Arc<Self>, storage: StorageId) {
        let (start, end) = crate::storage::whole_range(storage);
        self.store.clear_range(&start, &end);
    }

    /// Makes all that is applied durable in its final place, so that a restart has little to replay.
    ///
    /// # Errors
    /// What the disk raises.
    pub async fn checkpoint(&self) -> PgResult<()> {
        self.store.checkpoint().await.map_err(crate::session::error::from_kv)
    }

    /// The compiled layout of a table; the one of its newest version is kept.
    ///
    /// # Errors
    /// If an expression of the descriptor no longer compiles.
    pub fn layout(
        self: &Arc<Self>,
        table: &Arc<TableDesc>,
        catalog: &Arc<CatalogSnapshot>,
    ) -> PgResult<Arc<TableLayout>> {
        if let Some(layout) = self.layouts.lock().get(&table.oid)
            && Arc::ptr_eq(&layout.table, table)
        {
            return Ok(layout.clone());
        }
        let compile = |sql: &str, table: &TableDesc| compile_expression(sql, table, catalog);
        let layout = Arc::new(TableLayout::compile(table, &compile)?);
        let mut layouts = self.layouts.lock();
        if layouts.len() >= LAYOUTS_MAX {
            layouts.clear();
        }
        layouts.insert(table.oid, layout.clone());
        Ok(layout)
    }
}

/// Compiles an expression that the catalog keeps as text, over a table's columns by position.
fn compile_expression(
    sql: &str,
    table: &TableDesc,
    catalog: &Arc<CatalogSnapshot>,
) -> PgResult<CompiledExpr> {
    let expr = parse::parse_expression(sql)?;
    let env = EvalEnv::detached();
    let cx = BindContext::for_catalog_text(catalog, &env.io);
    let (scalar, cols) = bind::bind_table_expression(&expr, table, &cx)?;
    CompiledExpr::compile(&scalar, &|id| {
        cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
    })
}

/// Microseconds from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_TO_2000_MICROS: i64 = 946_684_800_000_000;

fn pg_micros(runtime: &Runtime) -> i64 {
    runtime.wall_micros() as i64 - UNIX_TO_2000_MICROS
}

/// Layouts kept; past it the cache starts anew.
const LAYOUTS_MAX: usize = 4_096;
