//! Sessions: what a connection's messages do.
//!
//! A [`PgSession`] keeps the state of one client: its transaction, settings, prepared statements and portals.
//! A statement goes through [`statement`] (parse, bind, plan, with the plan kept in its prepared statement),
//! [`execute`] (locks, snapshot, cursor) and [`wire`] (rows to bytes). Statements that are not planned
//! (SET, BEGIN, DDL, COPY, ...) are dispatched by [`utility`].
//!
//! Errors leave a session with positions counted in characters; below, they are byte offsets.

mod activity;
mod analyze;
pub mod backend;
mod cluster;
mod conflict;
mod copy;
mod cursors;
pub mod error;
mod execute;
mod explain;
mod listen;
mod maintenance;
mod monitor;
mod past;
mod portal;
mod prepared;
mod reindex;
mod services;
mod setting_value;
mod settings;
mod shards;
mod snapshots;
mod statement;
mod timeouts;
mod transaction;
mod txn_control;
mod utility;
mod wire;

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_pgwire::{CancelToken, Startup};
use shardforge_types::{IoEnv, Oid, PgError, PgResult, SqlState};

pub use activity::{SessionDirectory, ShownProgress};
pub use backend::SqlBackend;
pub use execute::Execution;
pub use explain::boolean_option;
pub use monitor::lock_kind;
pub use settings::SessionSettings;
pub use snapshots::ExportedSnapshots;

use crate::bind::BindContext;
use crate::catalog::pg_catalog::IndexProgress;
use crate::catalog::{CatalogSnapshot, well_known};
use crate::engine::Engine;
use crate::exec::env::{EvalEnv, SessionEnv};
use crate::func::random::Random;
use activity::Listed;
use portal::Portal;
use services::SessionServices;
use statement::Prepared;
use transaction::SessionTxn;

/// One client's session.
pub struct PgSession {
    pub(crate) engine: Arc<Engine>,
    pub(crate) database: Oid,
    pub(crate) database_name: String,
    pub(crate) session_user: Oid,
    pub(crate) user: Oid,
    cancel: CancelToken,
    /// What it does, for others to see.
    activity: Listed,
    /// When the client's last message came: microseconds since 2000-01-01 00:00 UTC.
    message_at: i64,
    /// What the running statement does to rows, as errors word it.
    doing: &'static str,
    pub(crate) settings: Arc<SessionSettings>,
    pub(crate) services: Arc<SessionServices>,
    env: Arc<SessionEnv>,
    /// The newest published catalog that this session has seen.
    published: Arc<CatalogSnapshot>,
    published_version: u64,
    search_path: Option<(u64, u64, Arc<[Oid]>)>,
    /// The schema that CREATE SCHEMA is filling: it leads the search path.
    schema_in_making: Option<Oid>,
    /// What text forms depend on, as of a version of the settings.
    io: (u64, Arc<IoEnv>),
    txn: Option<SessionTxn>,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    /// How many portals there have been.
    portals_made: u64,
    /// Whether the services look things up in the catalog with the changes of the transaction.
    own_catalog_shown: bool,
    /// Whether the message that is carried out has several statements, which makes them a transaction block.
    has_several_statements: bool,
}

impl PgSession {
    /// Opens a session.
    ///
    /// # Errors
    /// 3D000 for an unknown database, 28000 for an unknown or barred role, 22023 for a bad setting.
    pub async fn open(engine: &Arc<Engine>, startup: Startup) -> PgResult<PgSession> {
        let cluster = engine.catalog.cluster();
        let role = cluster.role_by_name(&startup.user).ok_or_else(|| {
            PgError::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                format!("role \"{}\" does not exist", startup.user),
            )
        })?;
        if !role.login {
            return Err(PgError::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                format!("role \"{}\" is not permitted to log in", startup.user),
            ));
        }
        let database = cluster.database_by_name(&startup.database).ok_or_else(|| {
            PgError::new(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{}\" does not exist", startup.database),
            )
        })?;
        if !database.allow_connections {
            return Err(PgError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("database \"{}\" is not currently accepting connections", startup.database),
            ));
        }
        let published_version = engine.catalog.version();
        let published =
            engine.catalog.snapshot(database.oid).ok_or_else(|| PgError::internal("no catalog"))?;
        let settings = Arc::new(SessionSettings::new(
            &[
                ("session_authorization", role.name.clone()),
                ("is_superuser", if role.superuser { "on" } else { "off" }.to_owned()),
                ("TimeZone", "UTC".to_owned()),
                ("client_encoding", "UTF8".to_owned()),
                ("server_encoding", "UTF8".to_owned()),
                ("DateStyle", "ISO, MDY".to_owned()),
                ("lc_messages", "C".to_owned()),
                ("max_connections", engine.options.max_connections.to_string()),
                ("max_prepared_transactions", engine.options.max_prepared_transactions.to_string()),
                ("data_directory", engine.options.data_dir.display().to_string()),
            ],
            role.superuser,
        ));
        for (name, value) in &startup.parameters {
            settings.set_at_start(name, value)?;
        }
        let activity = engine.sessions.add(startup.process_id, database.oid, settings.clone());
        let services = Arc::new(SessionServices::new(
            engine.clone(),
            activity.clone(),
            startup.cancel.clone(),
            startup.registry.clone(),
            published.clone(),
        ));
        let env = Arc::new(SessionEnv {
            session_user: role.oid,
            backend_pid: startup.process_id,
            temp_schema: None,
            client: Some((startup.peer.ip().to_string(), startup.peer.port())),
            server: None,
            settings: settings.clone(),
            sequences: services.clone(),
            host: services.clone(),
            random: Mutex::new(Random::from_seed(engine.runtime.next_u64())),
        });
        Ok(PgSession {
            engine: engine.clone(),
            database: database.oid,
            database_name: database.name.clone(),
            session_user: role.oid,
            user: role.oid,
            cancel: startup.cancel,
            activity,
            message_at: engine.clock_micros(),
            doing: "reading",
            settings,
            services,
            env,
            published,
            published_version,
            search_path: None,
            schema_in_making: None,
            io: (u64::MAX, Arc::default()),
            txn: None,
            statements: HashMap::new(),
            portals: HashMap::new(),
            portals_made: 0,
            own_catalog_shown: false,
            has_several_statements: false,
        })
    }

    /// The catalog as the current statement sees it.
    pub(crate) fn catalog(&mut self) -> Arc<CatalogSnapshot> {
        let version = self.engine.catalog.version();
        if version != self.published_version {
            if let Some(snapshot) = self.engine.catalog.snapshot(self.database) {
                self.published = snapshot;
            }
            self.published_version = version;
            self.services.set_catalog(self.published.clone());
        }
        match &mut self.txn {
            Some(txn) if !txn.changes.is_empty() => {
                let catalog = txn.catalog(self.published.clone());
                self.services.set_catalog(catalog.clone());
                self.own_catalog_shown = true;
                catalog
            }
            _ => {
                if std::mem::take(&mut self.own_catalog_shown) {
                    self.services.set_catalog(self.published.clone());
                }
                self.published.clone()
            }
        }
    }

    /// Puts a schema before the search path, or takes it away again.
    pub(crate) fn lead_search_path(&mut self, schema: Option<Oid>) {
        self.schema_in_making = schema;
        self.search_path = None;
    }

    /// Oids of the schemas on the search path that exist; pg_catalog leads unless it is named.
    pub(crate) fn search_path(&mut self, catalog: &Arc<CatalogSnapshot>) -> Arc<[Oid]> {
        let settings_version = self.settings.version();
        let own_changes = self.txn.as_ref().map_or(0, |txn| txn.changes.len() as u64);
        let key = catalog.version.wrapping_mul(31).wrapping_add(own_changes);
        if let Some((version, at, path)) = &self.search_path
            && *version == settings_version
            && *at == key
        {
            return path.clone();
        }
        let names = self.settings.parsed(|parsed| parsed.search_path.clone());
        let mut path = Vec::from_iter(self.schema_in_making);
        for name in names.iter() {
            let schema = match &**name {
                "$user" => {
                    let role = catalog.cluster.roles.get(&self.user);
                    role.and_then(|role| catalog.schema_by_name(&role.name))
                }
                name => catalog.schema_by_name(name),
            };
            if let Some(schema) = schema
                && !path.contains(&schema.oid)
            {
                path.push(schema.oid);
            }
        }
        if !path.contains(&well_known::PG_CATALOG) {
            path.insert(0, well_known::PG_CATALOG);
        }
        let path: Arc<[Oid]> = path.into();
        self.search_path = Some((settings_version, key, path.clone()));
        path
    }

    /// What the binder needs to know.
    fn bind_context<'a>(
        &self,
        catalog: &'a CatalogSnapshot,
        search_path: &'a [Oid],
        io: &'a IoEnv,
        database: &'a str,
        param_types: Vec<Oid>,
    ) -> BindContext<'a> {
        BindContext { catalog, search_path, user: self.user, database, io, param_types, temp_schema: None }
    }

    /// The environment of a statement that begins now.
    pub(crate) fn eval_env(&mut self) -> EvalEnv {
        let catalog = self.catalog();
        let search_path = self.search_path(&catalog);
        let now = self.message_at;
        let transaction_timestamp = self.txn.as_ref().map_or(now, |txn| txn.started_at);
        EvalEnv {
            io: self.io_env(transaction_timestamp),
            catalog,
            search_path,
            session: self.env.clone(),
            user: self.user,
            transaction_timestamp,
            statement_timestamp: now,
        }
    }

    /// The settings that text forms depend on: the last statement's, while they are the same.
    fn io_env(&mut self, now_micros: i64) -> Arc<IoEnv> {
        let version = self.settings.version();
        let (known, io) = &mut self.io;
        if *known != version {
            *io = Arc::new(self.settings.parsed(|parsed| parsed.io.clone()));
            *known = version;
        }
        if io.now_micros != now_micros {
            // In place, unless an open portal still has the old one.
            Arc::make_mut(io).now_micros = now_micros;
        }
        io.clone()
    }

    /// Calls a function of the binder with the session's context.
    pub(crate) fn with_bind_context<T>(
        &mut self,
        f: impl FnOnce(&BindContext<'_>) -> PgResult<T>,
    ) -> PgResult<T> {
        let catalog = self.catalog();
        let search_path = self.search_path(&catalog);
        let io = self.settings.parsed(|parsed| parsed.io.clone());
        let database = self.database_name.clone();
        f(&self.bind_context(&catalog, &search_path, &io, &database, Vec::new()))
    }

    /// Whether the session acts for a superuser now.
    pub(crate) fn is_superuser(&self) -> bool {
        self.engine.catalog.cluster().roles.get(&self.user).is_some_and(|role| role.superuser)
    }

    /// 25001 inside a transaction block.
    pub(crate) fn require_no_block(&self, what: &str) -> PgResult<()> {
        if self.has_several_statements || self.txn.as_ref().is_some_and(|txn| txn.explicit) {
            let message = format!("{what} cannot run inside a transaction block");
            return Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// Shows others that an index is made.
    pub(crate) fn show_progress(&self, command: &'static str, table: Oid, index: Oid) -> ShownProgress {
        self.activity.makes_index(IndexProgress { table, index, command, phase: "initializing", rows: 0 })
    }

    /// 57014 if the statement has been cancelled.
    pub(crate) fn check_canceled(&self) -> PgResult<()> {
        self.cancel.check()
    }

    /// Makes sure that nobody is connected to a database, and no transaction of it is prepared: ends its sessions if
    /// forced.
    pub(crate) async fn evict_database(&self, name: &str, force: bool) -> PgResult<()> {
        let in_use = |message: &str, sessions: usize, prepared: usize| {
            let message = format!("database \"{name}\" is being {message}");
            Err(PgError::new(SqlState::OBJECT_IN_USE, message).detail(users_of_database(sessions, prepared)))
        };
        let connected = || self.services.connected_to(name);
        let prepared = prepared::prepared_in(&self.engine, name);
        if force && prepared > 0 {
            return in_use("used by prepared transactions", 0, prepared);
        }
        if force {
            for process_id in connected() {
                self.services.terminate(process_id);
            }
        }
        for _ in 0..EVICTION_WAITS {
            if connected().is_empty() {
                break;
            }
            self.engine.runtime.sleep(EVICTION_WAIT).await;
        }
        match connected().len() {
            0 if prepared == 0 => Ok(()),
            sessions => in_use("accessed by other users", sessions, prepared),
        }
    }

    /// A message came that runs a statement, or is about one.
    pub(crate) fn message(&mut self, text: &Arc<str>) {
        self.message_at = self.engine.clock_micros();
        self.activity.begin_statement(text.clone(), self.message_at);
    }

    /// Turns the byte position of an error into a character position in the statement's text.
    fn at_edge(mut error: PgError, sql: &str) -> PgError {
        let fields = error.fields_mut();
        fields.position = fields.position.map(|pos| crate::parse::error_position(sql, pos));
        error
    }
}

/// A session that is going away is waited for, as PostgreSQL does, this often and so long each time.
const EVICTION_WAITS: u32 = 50;
const EVICTION_WAIT: std::time::Duration = std::time::Duration::from_millis(100);

/// Who uses a database, as DETAIL puts it.
fn users_of_database(sessions: usize, prepared: usize) -> String {
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    if sessions > 0 && prepared > 0 {
        return format!(
            "There are {sessions} other session(s) and {prepared} prepared transaction(s) using the database."
        );
    }
    let (count, what) =
        if sessions > 0 { (sessions, "other session") } else { (prepared, "prepared transaction") };
    let verb = if count == 1 { "is" } else { "are" };
    format!("There {verb} {} using the database.", plural(count, what))
}
