//! REINDEX.
//!
//! Indexes do not bloat here, so that there is nothing to make anew but those that are not valid, because making them
//! concurrently failed. All the same it locks and waits as PostgreSQL does: when it is over, the indexes are known to be
//! good, and nobody is in the middle of writing to them.

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, Severity, SqlState};

use super::PgSession;
use super::execute::Execution;
use super::explain::boolean_option;
use crate::catalog::info::has_role;
use crate::catalog::{IndexState, Relation, TableDesc, well_known};
use crate::ddl;
use crate::exec::env::Host;
use crate::parse::ast::{DefArg, RangeVar, ReindexKind, ReindexStmt};

impl PgSession {
    /// REINDEX.
    ///
    /// # Errors
    /// 42P01, 3F000, 42501, 42809 and 0A000 as PostgreSQL raises them; 23505 if rows are not unique.
    pub(super) async fn reindex(&mut self, stmt: &ReindexStmt) -> PgResult<Execution> {
        let concurrently = check_options(stmt)?;
        if concurrently {
            self.require_no_block("REINDEX CONCURRENTLY")?;
        }
        match (stmt.kind, &stmt.relation) {
            (ReindexKind::Index, Some(name)) => self.reindex_index(name, concurrently).await?,
            (ReindexKind::Table, Some(name)) => self.reindex_table(name, concurrently).await?,
            (kind, name) => self.reindex_many(kind, name.as_ref(), concurrently).await?,
        }
        Ok(Execution::done("REINDEX"))
    }

    async fn reindex_index(&mut self, name: &RangeVar, concurrently: bool) -> PgResult<()> {
        if self.is_catalog(name)? {
            return no_catalogs_concurrently(concurrently);
        }
        let found = ddl::find_relation(self, name)?;
        let Relation::Index(table, _) = &found else {
            let message = format!("\"{}\" is not an index", found.name());
            return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        self.require_maintain(table.oid, "index", found.name())?;
        let relation = self.lock_relation_by_name(name, &|_| lock_mode(concurrently)).await?;
        let Relation::Index(table, position) = relation else {
            let message = format!("\"{}\" is not an index", relation.name());
            return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        let index = &table.indexes[position];
        match (index.state == IndexState::Public, concurrently) {
            (true, true) => ddl::outwait(self, table.oid).await,
            (true, false) => Ok(()),
            (false, true) => ddl::make_valid(self, table.oid, index.oid).await,
            (false, false) => ddl::make_anew(self, table.oid, index.oid).await,
        }
    }

    async fn reindex_table(&mut self, name: &RangeVar, concurrently: bool) -> PgResult<()> {
        if self.is_catalog(name)? {
            return no_catalogs_concurrently(concurrently);
        }
        let wrong = |relation: &Relation| {
            let message = format!("\"{}\" is not a table or materialized view", relation.name());
            Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message))
        };
        match &ddl::find_relation(self, name)? {
            Relation::Table(table) => self.require_maintain(table.oid, "table", &table.name)?,
            other => return wrong(other),
        }
        let table = match self.lock_relation_by_name(name, &|_| lock_mode(concurrently)).await? {
            Relation::Table(table) => table,
            other => return wrong(&other),
        };
        if table.indexes.is_empty() {
            let what = if concurrently { "that can be reindexed concurrently" } else { "to reindex" };
            self.notice(format!("table \"{}\" has no indexes {what}", table.name));
            return Ok(());
        }
        self.reindex_all_of(&table, concurrently).await
    }

    /// REINDEX SCHEMA, DATABASE and SYSTEM: each table in a transaction of its own.
    async fn reindex_many(
        &mut self,
        kind: ReindexKind,
        name: Option<&RangeVar>,
        concurrently: bool,
    ) -> PgResult<()> {
        self.require_no_block(match kind {
            ReindexKind::Schema => "REINDEX SCHEMA",
            ReindexKind::System => "REINDEX SYSTEM",
            _ => "REINDEX DATABASE",
        })?;
        let schema = match (kind, name) {
            (ReindexKind::System, _) if concurrently => return no_catalogs_concurrently(true),
            (ReindexKind::Schema, Some(name)) => {
                let catalog = self.catalog();
                let Some(schema) = catalog.schema_by_name(&name.name) else {
                    let message = format!("schema \"{}\" does not exist", name.name);
                    return Err(PgError::new(SqlState::INVALID_SCHEMA_NAME, message));
                };
                self.require_owner(schema.owner, "schema", &schema.name)?;
                if concurrently && schema.oid == well_known::PG_CATALOG {
                    self.warn(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "cannot reindex system catalogs concurrently, skipping all",
                    );
                }
                Some(schema.oid)
            }
            (_, name) => {
                if name.is_some_and(|name| *name.name != *self.database_name) {
                    let message = "can only reindex the currently open database";
                    return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
                let catalog = self.catalog();
                if let Some(database) = catalog.cluster.databases.get(&self.database) {
                    self.require_owner(database.owner, "database", &database.name)?;
                }
                None
            }
        };
        if kind == ReindexKind::System {
            return Ok(());
        }
        let catalog = self.catalog();
        let mut tables: Vec<Oid> = catalog
            .tables()
            .filter(|table| schema.is_none_or(|schema| table.schema == schema))
            .map(|table| table.oid)
            .collect();
        tables.sort_unstable();
        for table in tables {
            self.commit().await?;
            let wait = self.lock_wait();
            self.lock_table(table, lock_mode(concurrently), wait).await?;
            // It may have been dropped meanwhile.
            if let Some(table) = self.catalog().table(table).cloned() {
                self.reindex_all_of(&table, concurrently).await?;
            }
        }
        Ok(())
    }

    /// All indexes of a table that the transaction has locked.
    async fn reindex_all_of(&mut self, table: &TableDesc, concurrently: bool) -> PgResult<()> {
        if concurrently {
            self.skip_invalid_indexes(table);
            return match table.indexes.iter().any(|index| index.state == IndexState::Public) {
                true => ddl::outwait(self, table.oid).await,
                false => Ok(()),
            };
        }
        for index in table.indexes.iter().filter(|index| index.state != IndexState::Public) {
            ddl::make_anew(self, table.oid, index.oid).await?;
        }
        Ok(())
    }

    fn skip_invalid_indexes(&self, table: &TableDesc) {
        let catalog = self.engine.catalog.snapshot(self.database);
        let schema = catalog.as_ref().and_then(|catalog| catalog.schemas.get(&table.schema));
        let schema = schema.map_or("", |schema| schema.name.as_str());
        for index in table.indexes.iter().filter(|index| index.state != IndexState::Public) {
            let message = format!("skipping reindex of invalid index \"{schema}.{}\"", index.name);
            let warning = PgError::with_severity(
                Severity::Warning,
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                message,
            );
            self.services.notice(warning.hint("Use DROP INDEX or REINDEX INDEX."));
        }
    }

    /// 42501 without the privilege MAINTAIN of a table; the message names it, or its index.
    pub(crate) fn require_maintain(&mut self, table: Oid, kind: &str, name: &str) -> PgResult<()> {
        if self.may_maintain(table) {
            return Ok(());
        }
        let message = format!("permission denied for {kind} {name}");
        Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }

    /// 42501 for who may not act as an owner.
    fn require_owner(&mut self, owner: Oid, kind: &str, name: &str) -> PgResult<()> {
        let catalog = self.catalog();
        if has_role(&catalog, self.user, owner) {
            return Ok(());
        }
        let message = format!("must be owner of {kind} {name}");
        Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
    }
}

fn lock_mode(concurrently: bool) -> ObjectLockMode {
    if concurrently { ObjectLockMode::ShareUpdateExclusive } else { ObjectLockMode::Share }
}

fn no_catalogs_concurrently(concurrently: bool) -> PgResult<()> {
    match concurrently {
        true => Err(PgError::not_supported("cannot reindex system catalogs concurrently")),
        // They keep themselves in order.
        false => Ok(()),
    }
}

/// Whether CONCURRENTLY is among the options.
fn check_options(stmt: &ReindexStmt) -> PgResult<bool> {
    let mut concurrently = false;
    for option in &stmt.options {
        match &*option.name {
            "concurrently" => concurrently = boolean_option(option)?,
            "verbose" => {
                boolean_option(option)?;
            }
            "tablespace" => match &option.arg {
                Some(DefArg::String(name)) if matches!(&**name, "pg_default" | "pg_global") => {}
                Some(DefArg::String(name)) => {
                    let message = format!("tablespace \"{name}\" does not exist");
                    return Err(PgError::new(SqlState::UNDEFINED_OBJECT, message));
                }
                _ => {
                    let message = "tablespace requires a parameter";
                    return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
                }
            },
            name => {
                let message = format!("unrecognized REINDEX option \"{name}\"");
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos));
            }
        }
    }
    Ok(concurrently)
}
