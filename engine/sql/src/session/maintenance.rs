//! VACUUM and ANALYZE.
//!
//! Old versions are collected in the background, where writes are known to have left some. VACUUM looks everywhere
//! in its tables, removes at once what no snapshot needs, and counts what is left. What ANALYZE does is in `analyze.rs`.
//!
//! Both lock a table as PostgreSQL does, and so let its readers and writers go on (but for VACUUM FULL), wait for other
//! maintenance and definitions, and leave out what they may not touch, with a warning. But for ANALYZE within a
//! transaction block, each table has a transaction of its own.

use std::sync::Arc;

use shardforge_kv::{ObjectId, ObjectLockMode};
use shardforge_types::{Oid, PgError, PgResult, Severity, SqlState};

use super::PgSession;
use super::error::from_kv;
use super::execute::Execution;
use super::explain::boolean_option;
use super::monitor::lock_kind::RELATION;
use crate::catalog::builtin::system_relation_by_name;
use crate::catalog::info::{PrivilegeTarget, has_privileges, has_role};
use crate::catalog::{Change, Relation, TableDesc, well_known};
use crate::exec::env::Host;
use crate::parse::ast::{DefArg, DefElem, Name, RangeVar, VacuumStmt};
use crate::storage::whole_range;

/// What a statement of the two is to do.
#[derive(Clone, Copy, Default)]
struct Work {
    vacuum: bool,
    analyze: bool,
    full: bool,
    skip_locked: bool,
}

/// A table to work on.
struct Target {
    oid: Oid,
    name: String,
    columns: Vec<Name>,
    /// The statement names it: what keeps it from being worked on is worth a warning.
    named: bool,
}

impl Work {
    /// The word for it in messages about a table.
    fn verb(self) -> &'static str {
        if self.vacuum { "vacuum" } else { "analyze" }
    }

    /// # Errors
    /// 42601, 22023 and 0A000 for options, as PostgreSQL raises them.
    fn parse(stmt: &VacuumStmt) -> PgResult<Work> {
        let mut work = Work { vacuum: stmt.is_vacuum, analyze: !stmt.is_vacuum, ..Work::default() };
        let (mut parallel, mut pages, mut ring, mut toast, mut stats_only) =
            (false, false, false, true, false);
        for option in &stmt.options {
            match (&*option.name, stmt.is_vacuum) {
                ("verbose", _) => {
                    boolean_option(option)?;
                }
                ("skip_locked", _) => work.skip_locked = boolean_option(option)?,
                ("buffer_usage_limit", _) => ring = true,
                ("analyze", true) => work.analyze = boolean_option(option)?,
                ("full", true) => work.full = boolean_option(option)?,
                ("disable_page_skipping", true) => pages = boolean_option(option)?,
                ("process_toast", true) => toast = boolean_option(option)?,
                ("only_database_stats", true) => stats_only = boolean_option(option)?,
                ("freeze" | "process_main" | "truncate" | "skip_database_stats", true) => {
                    boolean_option(option)?;
                }
                ("index_cleanup", true) => match &option.arg {
                    Some(DefArg::String(text)) if text.eq_ignore_ascii_case("auto") => {}
                    _ => {
                        boolean_option(option)?;
                    }
                },
                ("parallel", true) => parallel = workers(option)? > 0,
                (name, _) => {
                    let message = format!("unrecognized {} option \"{name}\"", word(stmt.is_vacuum));
                    return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos));
                }
            }
        }
        let refused = |message: &str| Err(PgError::not_supported(message));
        if work.full && parallel {
            return refused("VACUUM FULL cannot be performed in parallel");
        }
        if work.full && ring && !work.analyze {
            return refused("BUFFER_USAGE_LIMIT cannot be specified for VACUUM FULL");
        }
        if !work.analyze && stmt.relations.iter().any(|(_, columns)| !columns.is_empty()) {
            return refused("ANALYZE option must be specified when a column list is provided");
        }
        if work.full && pages {
            return refused("VACUUM option DISABLE_PAGE_SKIPPING cannot be used with FULL");
        }
        if work.full && !toast {
            return refused("PROCESS_TOAST required with VACUUM FULL");
        }
        if stats_only && !stmt.relations.is_empty() {
            return refused("ONLY_DATABASE_STATS cannot be specified with a list of tables");
        }
        if stats_only && (work.full || work.analyze || pages) {
            return refused("ONLY_DATABASE_STATS cannot be specified with other VACUUM options");
        }
        Ok(Work { vacuum: work.vacuum && !stats_only, ..work })
    }
}

fn word(is_vacuum: bool) -> &'static str {
    if is_vacuum { "VACUUM" } else { "ANALYZE" }
}

/// The value of PARALLEL.
fn workers(option: &DefElem) -> PgResult<i32> {
    const MOST: i32 = 1024;
    match &option.arg {
        None => {
            let message = format!("parallel option requires a value between 0 and {MOST}");
            Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos))
        }
        Some(DefArg::Integer(workers)) if (0..=MOST).contains(workers) => Ok(*workers),
        Some(_) => {
            let message = format!("parallel workers for vacuum must be between 0 and {MOST}");
            Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos))
        }
    }
}

impl PgSession {
    /// VACUUM, ANALYZE.
    ///
    /// # Errors
    /// Whatever finding, locking and reading the tables raises.
    pub(super) async fn vacuum(&mut self, stmt: &VacuumStmt) -> PgResult<Execution> {
        let work = Work::parse(stmt)?;
        if stmt.is_vacuum {
            self.require_no_block("VACUUM")?;
        }
        // In a pipeline, what came before is not committed on the way.
        let is_first = self.txn.as_ref().is_none_or(|txn| !txn.used);
        let own_transactions = stmt.is_vacuum || is_first && self.require_no_block("ANALYZE").is_ok();
        let targets = self.vacuum_targets(stmt, work).await?;
        for target in targets {
            if own_transactions {
                self.commit().await?;
            }
            if work.vacuum && !self.vacuum_table(&target, work).await? {
                continue;
            }
            if work.analyze {
                self.analyze_table(&target, work).await?;
            }
        }
        Ok(Execution::done(word(stmt.is_vacuum)))
    }

    /// The tables of a statement: those it names, or all. Of those it names, it waits for whoever is about to drop them.
    async fn vacuum_targets(&mut self, stmt: &VacuumStmt, work: Work) -> PgResult<Vec<Target>> {
        let mut targets = Vec::new();
        if !work.vacuum && !work.analyze {
            return Ok(targets);
        }
        if stmt.relations.is_empty() {
            let catalog = self.catalog();
            let mut tables: Vec<_> = catalog.tables().map(|table| (table.oid, table.name.clone())).collect();
            tables.sort_by_key(|(oid, _)| *oid);
            for (oid, name) in tables {
                if self.may_vacuum(oid, &name, work.verb()) {
                    targets.push(Target { oid, name, columns: Vec::new(), named: false });
                }
            }
            return Ok(targets);
        }
        for (name, columns) in &stmt.relations {
            if self.is_catalog(name)? {
                continue;
            }
            if work.skip_locked {
                let relation = crate::ddl::find_relation(self, name)?;
                if !self.try_lock_table(relation.oid(), ObjectLockMode::AccessShare)? {
                    self.skipped(work.verb(), relation.name(), SqlState::LOCK_NOT_AVAILABLE, NOT_AVAILABLE);
                    continue;
                }
            }
            match self.lock_relation_by_name(name, &|_| ObjectLockMode::AccessShare).await? {
                Relation::Table(table) => {
                    if self.may_vacuum(table.oid, &table.name, work.verb()) {
                        let (oid, name, columns) = (table.oid, table.name.clone(), columns.clone());
                        targets.push(Target { oid, name, columns, named: true });
                    }
                }
                other => self.warn(
                    SqlState::WARNING,
                    &format!(
                        "skipping \"{}\" --- cannot {} non-tables or special system tables",
                        other.name(),
                        work.verb()
                    ),
                ),
            }
        }
        Ok(targets)
    }

    /// Whether a name is that of a catalog, or of an index of one: they keep themselves in order.
    pub(super) fn is_catalog(&mut self, name: &RangeVar) -> PgResult<bool> {
        let schema = match &name.schema {
            Some(schema) => self.catalog().schema_by_name(schema).map(|schema| schema.oid),
            None if crate::ddl::find_relation_if_exists(self, name)?.is_none() => {
                Some(well_known::PG_CATALOG)
            }
            None => None,
        };
        Ok(schema.is_some_and(|schema| system_relation_by_name(schema, &name.name).is_some()))
    }

    /// VACUUM of one table; false if it was left out.
    async fn vacuum_table(&mut self, target: &Target, work: Work) -> PgResult<bool> {
        let mode =
            if work.full { ObjectLockMode::AccessExclusive } else { ObjectLockMode::ShareUpdateExclusive };
        let Some(table) = self.lock_target(target, mode, work, "vacuum").await? else { return Ok(false) };
        // A clustering primary key is where the rows are.
        let indexes = table.indexes.iter().map(|index| index.storage).filter(|at| *at != table.storage);
        for storage in std::iter::once(table.storage).chain(indexes) {
            let (start, end) = whole_range(storage);
            self.engine.store.collect_garbage_in(&start, &end).await.map_err(from_kv)?;
            self.check_canceled()?;
        }
        if !work.analyze {
            let stats = self.measure(&table).await?;
            self.record(Change::Stats(table.oid, stats))?;
        }
        Ok(true)
    }

    async fn analyze_table(&mut self, target: &Target, work: Work) -> PgResult<()> {
        let mode = ObjectLockMode::ShareUpdateExclusive;
        let Some(table) = self.lock_target(target, mode, work, "analyze").await? else { return Ok(()) };
        check_columns(&table, &target.columns)?;
        let stats = self.analyze(&table).await?;
        self.record(Change::Stats(table.oid, stats))
    }

    /// Locks a table to be worked on; `None`, with a warning if the statement names it, if it cannot be, is gone, or
    /// belongs to somebody else by now.
    async fn lock_target(
        &mut self,
        target: &Target,
        mode: ObjectLockMode,
        work: Work,
        verb: &str,
    ) -> PgResult<Option<Arc<TableDesc>>> {
        if !work.skip_locked {
            let wait = self.lock_wait();
            self.lock_table(target.oid, mode, wait).await?;
        } else if !self.try_lock_table(target.oid, mode)? {
            if target.named {
                self.skipped(verb, &target.name, SqlState::LOCK_NOT_AVAILABLE, NOT_AVAILABLE);
            }
            return Ok(None);
        }
        let Some(table) = self.catalog().table(target.oid).cloned() else {
            if target.named {
                self.skipped(verb, &target.name, SqlState::UNDEFINED_TABLE, "relation no longer exists");
            }
            return Ok(None);
        };
        Ok(self.may_vacuum(table.oid, &table.name, verb).then_some(table))
    }

    fn try_lock_table(&mut self, table: Oid, mode: ObjectLockMode) -> PgResult<bool> {
        let object = ObjectId { class: self.database.0, kind: RELATION, id: u64::from(table.0) };
        self.ensure_txn().txn.try_lock_object(object, mode).map_err(from_kv)
    }

    fn skipped(&self, verb: &str, table: &str, sqlstate: SqlState, why: &str) {
        let message = format!("skipping {verb} of \"{table}\" --- {why}");
        self.services.notice(PgError::with_severity(Severity::Warning, sqlstate, message));
    }

    /// Whether the role may vacuum and analyze a table; warns if not.
    fn may_vacuum(&mut self, table: Oid, name: &str, verb: &str) -> bool {
        let catalog = self.catalog();
        let owns_database = catalog
            .cluster
            .databases
            .get(&self.database)
            .is_some_and(|database| has_role(&catalog, self.user, database.owner));
        let allowed = owns_database || self.may_maintain(table);
        if !allowed {
            let message = format!("permission denied to {verb} \"{name}\", skipping it");
            self.warn(SqlState::WARNING, &message);
        }
        allowed
    }

    /// Whether the role has the privilege MAINTAIN of a table.
    pub(crate) fn may_maintain(&mut self, table: Oid) -> bool {
        let catalog = self.catalog();
        has_privileges(&catalog, self.user, PrivilegeTarget::Table(table), &[("MAINTAIN", false)])
            == Some(true)
    }
}

const NOT_AVAILABLE: &str = "lock not available";

/// 42703 and 42701 for a list of columns.
fn check_columns(table: &TableDesc, columns: &[Name]) -> PgResult<()> {
    for (position, name) in columns.iter().enumerate() {
        if table.column_by_name(name).is_none() {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message));
        }
        if columns[..position].contains(name) {
            let message = format!("column \"{name}\" of relation \"{}\" appears more than once", table.name);
            return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    Ok(())
}
