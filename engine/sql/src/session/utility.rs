//! Statements that are not planned: settings, prepared statements, cursors, locks, and the way to DDL, COPY,
//! EXPLAIN and maintenance.

use std::sync::Arc;

use shardforge_kv::{ObjectLockMode, WaitPolicy};
use shardforge_pgwire::Responder;
use shardforge_types::{Datum, IoEnv, Oid, PgError, PgResult, SqlState, oid};

use super::PgSession;
use super::cluster::{cluster_columns, token_columns};
use super::execute::{Execution, Tag};
use super::setting_value::normalise;
use super::settings::unrecognized;
use super::shards::shard_columns;
use super::statement::Prepared;
use crate::bind;
use crate::catalog::Relation;
use crate::ddl;
use crate::exec::env::Host;
use crate::exec::eval::CompiledExpr;
use crate::ir::{Col, ColId, OutputColumn, Ty};
use crate::parse::ast::{
    DiscardMode, ExecuteStmt, Expr, LockMode, LockStmt, PrepareStmt, Statement, VariableSetKind,
    VariableSetStmt,
};
use crate::plan::QueryCursor;

impl PgSession {
    /// Result columns of a utility statement; `None` if it returns no rows.
    ///
    /// # Errors
    /// 26000, 42704 for names that do not exist, and what planning an EXPLAINed statement raises.
    pub(crate) fn utility_columns(&mut self, stmt: &Statement) -> PgResult<Option<Vec<OutputColumn>>> {
        match stmt {
            Statement::VariableShow(show) if &*show.name == "all" => {
                Ok(Some(text_output(&["name", "setting", "description"])))
            }
            Statement::VariableShow(show) => {
                let name = self.shown_name(&show.name)?;
                Ok(Some(text_output(&[&name])))
            }
            Statement::ShowShards(_) => Ok(Some(shard_columns())),
            Statement::ShowCluster(show) => Ok(Some(cluster_columns(*show))),
            Statement::CreateJoinToken(_) => Ok(Some(token_columns())),
            Statement::Explain(explain) => Ok(Some(Self::explain_columns(explain))),
            Statement::Fetch(fetch) => self.fetch_columns(fetch),
            Statement::Execute(execute) => {
                let prepared = self.statement(&execute.name)?;
                match &prepared.stmt {
                    Some(stmt) if super::statement::is_planned(stmt) => {
                        let planned = self.plan_of(&prepared)?;
                        Ok(prepared.fields.is_some().then(|| planned.output.to_vec()))
                    }
                    Some(stmt) => self.utility_columns(&stmt.clone()),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// Runs a utility statement.
    ///
    /// # Errors
    /// Whatever it raises; 0A000 for what is not supported.
    pub(crate) async fn utility(
        &mut self,
        stmt: &Statement,
        sql: &Arc<str>,
        params: &Arc<[Datum]>,
        types: &[Ty],
        out: &mut Responder,
    ) -> PgResult<Execution> {
        match stmt {
            Statement::VariableSet(set) => self.set_variable(set),
            Statement::VariableShow(show) => self.show(&show.name),
            Statement::ShowShards(show) => Box::pin(self.show_shards(show)).await,
            Statement::ShowCluster(show) => Box::pin(self.show_cluster(*show)).await,
            Statement::CreateJoinToken(valid_for) => {
                Box::pin(self.create_join_token(valid_for.as_deref())).await
            }
            Statement::AlterNode(alter) => Box::pin(self.alter_node(alter)).await,
            Statement::Prepare(prepare) => self.prepare_statement(prepare, sql).await,
            Statement::Execute(execute) => self.execute_statement(execute, sql, out).await,
            Statement::Deallocate(name) => self.deallocate(name.as_deref()),
            Statement::Explain(explain) => self.explain(explain, sql, params, types).await,
            Statement::Copy(copy) => self.copy(copy, sql, out).await,
            Statement::DeclareCursor(declare) => self.declare_cursor(declare, sql, params, types).await,
            Statement::Fetch(fetch) => self.fetch(fetch).await,
            Statement::ClosePortal(name) => self.close_cursor(name.as_deref()),
            Statement::Discard(mode) => self.discard(*mode),
            Statement::Listen(channel) => Ok(self.listen(channel)),
            Statement::Unlisten(channel) => Ok(self.unlisten(channel.as_deref())),
            Statement::Notify(channel, payload) => {
                self.ensure_txn();
                self.services.listener.notify(channel, payload.as_deref().unwrap_or_default())?;
                Ok(Execution::done("NOTIFY"))
            }
            Statement::Lock(lock) => self.lock_statement(lock).await,
            Statement::Vacuum(vacuum) => self.vacuum(vacuum).await,
            Statement::Reindex(reindex) => self.reindex(reindex).await,
            Statement::ConstraintsSet(set) => {
                Box::pin(self.constraints_statement(set)).await?;
                Ok(Execution::done("SET CONSTRAINTS"))
            }
            Statement::Checkpoint => {
                self.engine.checkpoint().await?;
                Ok(Execution::done("CHECKPOINT"))
            }
            Statement::Transaction(_) => Err(PgError::internal("transaction statements are not utilities")),
            _ => self.ddl(stmt, sql).await,
        }
    }

    async fn ddl(&mut self, stmt: &Statement, sql: &Arc<str>) -> PgResult<Execution> {
        let Some(tag) = ddl::command_tag(stmt) else {
            return Err(PgError::not_supported("this statement is not supported yet")
                .hint("docs/compatibility.md lists what is supported."));
        };
        let txn = self.ensure_txn();
        if txn.read_only {
            return Err(PgError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {tag} in a read-only transaction"),
            ));
        }
        txn.used = true;
        txn.txn.begin_statement();
        self.activity.writes();
        self.doing = "locking";
        let tag = ddl::execute(self, stmt, sql).await?;
        self.search_path = None;
        Ok(Execution::done(tag))
    }

    fn set_variable(&mut self, set: &VariableSetStmt) -> PgResult<Execution> {
        if set.local && self.txn.as_ref().is_none_or(|txn| !txn.explicit) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            );
        }
        match &set.kind {
            VariableSetKind::Value(name, values) => {
                let value =
                    values.iter().map(|v| setting_text(name, v)).collect::<PgResult<Vec<_>>>()?.join(", ");
                match &**name {
                    "role" => self.set_role(&value, set.local)?,
                    "session_authorization" => self.set_session_authorization(&value)?,
                    "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                        self.set_transaction_variable(name, &value)?;
                    }
                    name => {
                        self.settings.assign(name, &value, set.local)?;
                        if name == "transaction_timeout" {
                            self.limit_transaction();
                        }
                    }
                }
            }
            VariableSetKind::Default(name) | VariableSetKind::Reset(name) => match &**name {
                "role" | "session_authorization" => {
                    self.user = self.session_user;
                }
                "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                    return Err(PgError::not_supported(format!("parameter \"{name}\" cannot be reset")));
                }
                name => self.settings.reset(name, set.local)?,
            },
            VariableSetKind::Current(_) => {}
            VariableSetKind::ResetAll => self.settings.reset_all(),
            VariableSetKind::Transaction(modes) => {
                self.warn_unless_in_block();
                self.set_transaction_modes(modes)?;
            }
            VariableSetKind::SessionCharacteristics(modes) => {
                if modes.as_of.is_some() {
                    return Err(PgError::not_supported("AS OF SYSTEM TIME cannot be set for a session")
                        .hint("BEGIN AS OF SYSTEM TIME is for one transaction."));
                }
                if let Some(isolation) = modes.isolation {
                    use crate::parse::ast::IsolationLevel as Level;
                    let value = match isolation {
                        Level::ReadUncommitted => "read uncommitted",
                        Level::ReadCommitted => "read committed",
                        Level::RepeatableRead => "repeatable read",
                        Level::Serializable => "serializable",
                    };
                    self.settings.assign("default_transaction_isolation", value, false)?;
                }
                for (name, value) in [
                    ("default_transaction_read_only", modes.read_only),
                    ("default_transaction_deferrable", modes.deferrable),
                ] {
                    if let Some(value) = value {
                        self.settings.assign(name, if value { "on" } else { "off" }, false)?;
                    }
                }
            }
            VariableSetKind::TransactionSnapshot(id) => {
                self.warn_unless_in_block();
                self.import_snapshot(id)?;
            }
        }
        self.search_path = None;
        let tag = match &set.kind {
            VariableSetKind::Reset(_) | VariableSetKind::ResetAll => "RESET",
            _ => "SET",
        };
        Ok(Execution::done(tag))
    }

    fn set_transaction_variable(&mut self, name: &str, value: &str) -> PgResult<()> {
        use crate::parse::ast::{IsolationLevel as Level, TransactionModes};
        let desc = crate::catalog::builtin::setting(name).ok_or_else(|| unrecognized(name))?;
        let value = normalise(desc, value)?;
        let mut modes = TransactionModes::default();
        match name {
            "transaction_isolation" => {
                modes.isolation = Some(match value.as_str() {
                    "read uncommitted" => Level::ReadUncommitted,
                    "repeatable read" => Level::RepeatableRead,
                    "serializable" => Level::Serializable,
                    _ => Level::ReadCommitted,
                });
            }
            "transaction_read_only" => modes.read_only = Some(value == "on"),
            _ => modes.deferrable = Some(value == "on"),
        }
        self.set_transaction_modes(&modes)
    }

    fn warn_unless_in_block(&self) {
        if self.txn.as_ref().is_none_or(|txn| !txn.explicit) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            );
        }
    }

    fn set_role(&mut self, name: &str, _local: bool) -> PgResult<()> {
        if name == "none" {
            self.user = self.session_user;
            return Ok(());
        }
        let catalog = self.catalog();
        let role = catalog.cluster.role_by_name(name).ok_or_else(|| unknown_role(name))?;
        let session = catalog.cluster.roles.get(&self.session_user);
        let allowed =
            session.is_some_and(|s| s.superuser || s.oid == role.oid || s.member_of.contains(&role.oid));
        if !allowed {
            return Err(PgError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to set role \"{name}\""),
            ));
        }
        self.user = role.oid;
        Ok(())
    }

    fn set_session_authorization(&mut self, name: &str) -> PgResult<()> {
        let catalog = self.catalog();
        let role = catalog.cluster.role_by_name(name).ok_or_else(|| unknown_role(name))?;
        let superuser = catalog.cluster.roles.get(&self.session_user).is_some_and(|r| r.superuser);
        if !superuser && role.oid != self.session_user {
            return Err(PgError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied to set session authorization \"{name}\""),
            ));
        }
        self.user = role.oid;
        self.settings.force("session_authorization", &role.name);
        Ok(())
    }

    /// The name under which SHOW answers, as PostgreSQL spells it.
    fn shown_name(&self, name: &str) -> PgResult<String> {
        match crate::catalog::builtin::setting(name) {
            Some(desc) => Ok(desc.name.to_owned()),
            None if self.settings.show(name).is_some() => Ok(name.to_owned()),
            None => Err(unrecognized(name)),
        }
    }

    /// The value of a setting, those of the transaction included.
    pub(crate) fn setting_value(&self, name: &str) -> Option<String> {
        match name {
            "role" if self.user == self.session_user => Some("none".to_owned()),
            "role" => self.published.cluster.roles.get(&self.user).map(|role| role.name.clone()),
            name => self.services.transaction_setting(name).or_else(|| self.settings.show(name)),
        }
    }

    fn show(&mut self, name: &str) -> PgResult<Execution> {
        if name == "all" {
            let rows = self
                .settings
                .all()
                .into_iter()
                .filter(|(desc, _)| !desc.flags.iter().any(|flag| flag == "NO_SHOW_ALL"))
                .map(|(desc, value)| {
                    let value = self.services.transaction_setting(desc.name).unwrap_or(value);
                    vec![Datum::text(desc.name), Datum::text(value), Datum::text(&*desc.short_desc)]
                })
                .collect();
            return Ok(self.text_rows(&["name", "setting", "description"], rows, "SHOW"));
        }
        let shown = self.shown_name(name)?;
        let value = self.setting_value(&shown).ok_or_else(|| unrecognized(name))?;
        Ok(self.text_rows(&[&shown], vec![vec![Datum::text(value)]], "SHOW"))
    }

    /// A result of text columns.
    pub(crate) fn text_rows(
        &mut self,
        names: &[&str],
        rows: Vec<Vec<Datum>>,
        tag: &'static str,
    ) -> Execution {
        self.ensure_txn().txn.begin_statement();
        let cx = self.exec_context(Arc::new([]));
        Execution {
            output: text_output(names).into(),
            cursor: Some(Box::new((QueryCursor::Rows(rows.into()), cx))),
            tag: Tag::Fixed(tag.to_owned()),
            sent: 0,
        }
    }

    async fn prepare_statement(&mut self, stmt: &PrepareStmt, sql: &Arc<str>) -> PgResult<Execution> {
        if self.statements.contains_key(&*stmt.name) {
            return Err(PgError::new(
                SqlState::DUPLICATE_PSTATEMENT,
                format!("prepared statement \"{}\" already exists", stmt.name),
            ));
        }
        let catalog = self.catalog();
        let search_path = self.search_path(&catalog);
        let io = self.settings.parsed(|parsed| parsed.io.clone());
        let database = self.database_name.clone();
        let mut types: Vec<Oid> = Vec::new();
        for name in &stmt.arg_types {
            let cx = self.bind_context(&catalog, &search_path, &io, &database, Vec::new());
            types.push(bind::resolve_type(name, &cx)?.oid);
        }
        let prepared = self.prepare(sql.clone(), Some(Arc::new(stmt.query.clone())), &types).await?;
        let prepared = Arc::new(prepared);
        self.services.remember_statement(&stmt.name, &prepared, true);
        self.statements.insert(stmt.name.to_string(), prepared);
        Ok(Execution::done("PREPARE"))
    }

    async fn execute_statement(
        &mut self,
        stmt: &ExecuteStmt,
        sql: &Arc<str>,
        out: &mut Responder,
    ) -> PgResult<Execution> {
        let (prepared, params) = self.execute_target(stmt)?;
        match &prepared.stmt {
            None => Ok(Execution::done("")),
            Some(inner) if super::statement::is_planned(inner) => self.start(&prepared, params).await,
            Some(inner) => Box::pin(self.utility(inner, sql, &params, &prepared.params, out)).await,
        }
    }

    /// The statement that EXECUTE means, and the values of its parameters.
    ///
    /// # Errors
    /// 26000 if there is none, 42601 for another number of parameters, what their values raise.
    pub(crate) fn execute_target(&mut self, stmt: &ExecuteStmt) -> PgResult<(Arc<Prepared>, Arc<[Datum]>)> {
        let prepared = self.statement(&stmt.name)?;
        if stmt.params.len() != prepared.params.len() {
            return Err(PgError::new(
                SqlState::SYNTAX_ERROR,
                format!("wrong number of parameters for prepared statement \"{}\"", stmt.name),
            )
            .detail(format!(
                "Expected {} parameters but got {}.",
                prepared.params.len(),
                stmt.params.len()
            )));
        }
        let params = self.execute_params(&stmt.params, &prepared.params)?;
        Ok((prepared, params))
    }

    /// Evaluates EXECUTE's arguments as values of the parameters' types.
    fn execute_params(&mut self, exprs: &[Expr], types: &[Ty]) -> PgResult<Arc<[Datum]>> {
        let env = self.eval_env();
        let catalog = env.catalog.clone();
        let search_path = env.search_path.clone();
        let database = self.database_name.clone();
        exprs
            .iter()
            .zip(types)
            .map(|(expr, ty)| {
                let cx = self.bind_context(&catalog, &search_path, &env.io, &database, Vec::new());
                let scalar = bind::bind_expression(expr, Some(*ty), &cx)?;
                CompiledExpr::compile(&scalar, &|_| None)?.eval(&Vec::new(), &[], &env)
            })
            .collect()
    }

    fn deallocate(&mut self, name: Option<&str>) -> PgResult<Execution> {
        match name {
            None => {
                self.statements.clear();
                self.services.forget_statements(None);
                Ok(Execution::done("DEALLOCATE ALL"))
            }
            Some(name) => match self.statements.remove(name) {
                Some(_) => {
                    self.services.forget_statements(Some(name));
                    Ok(Execution::done("DEALLOCATE"))
                }
                None => Err(PgError::new(
                    SqlState::INVALID_SQL_STATEMENT_NAME,
                    format!("prepared statement \"{name}\" does not exist"),
                )),
            },
        }
    }

    fn discard(&mut self, mode: DiscardMode) -> PgResult<Execution> {
        let tag = match mode {
            DiscardMode::All => {
                self.require_no_block("DISCARD ALL")?;
                self.portals.clear();
                self.user = self.session_user;
                self.settings.reset_all();
                self.statements.clear();
                self.services.forget_statements(None);
                self.services.forget_sequences();
                self.services.release_session_locks();
                self.unlisten(None);
                "DISCARD ALL"
            }
            DiscardMode::Plans => "DISCARD PLANS",
            DiscardMode::Sequences => {
                self.services.forget_sequences();
                "DISCARD SEQUENCES"
            }
            // Temporary tables are refused when they are made.
            DiscardMode::Temp => "DISCARD TEMP",
        };
        self.search_path = None;
        Ok(Execution::done(tag))
    }

    fn listen(&mut self, channel: &str) -> Execution {
        self.ensure_txn();
        self.services.listener.listen(channel);
        Execution::done("LISTEN")
    }

    fn unlisten(&mut self, channel: Option<&str>) -> Execution {
        self.ensure_txn();
        self.services.listener.unlisten(channel);
        Execution::done("UNLISTEN")
    }

    async fn lock_statement(&mut self, stmt: &LockStmt) -> PgResult<Execution> {
        self.require_block("LOCK TABLE")?;
        let mode = lock_mode(stmt.mode);
        let wait = if stmt.nowait { WaitPolicy::NoWait } else { self.lock_wait() };
        for name in &stmt.relations {
            let relation = ddl::find_relation(self, name)?;
            match relation {
                Relation::Table(_) | Relation::View(_) => {}
                other => {
                    return Err(PgError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("cannot lock relation \"{}\"", other.name()),
                    ));
                }
            }
            self.lock_table(relation.oid(), mode, wait).await?;
        }
        Ok(Execution::done("LOCK TABLE"))
    }
}

fn lock_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::AccessShare => ObjectLockMode::AccessShare,
        LockMode::RowShare => ObjectLockMode::RowShare,
        LockMode::RowExclusive => ObjectLockMode::RowExclusive,
        LockMode::ShareUpdateExclusive => ObjectLockMode::ShareUpdateExclusive,
        LockMode::Share => ObjectLockMode::Share,
        LockMode::ShareRowExclusive => ObjectLockMode::ShareRowExclusive,
        LockMode::Exclusive => ObjectLockMode::Exclusive,
        LockMode::AccessExclusive => ObjectLockMode::AccessExclusive,
    }
}

fn unknown_role(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{name}\" does not exist"))
}

/// Result columns of type text.
pub(crate) fn text_output(names: &[&str]) -> Vec<OutputColumn> {
    names
        .iter()
        .enumerate()
        .map(|(i, name)| OutputColumn {
            name: (*name).to_owned(),
            col: Col { id: ColId(i as u32), ty: Ty::new(oid::TEXT) },
            origin: (Oid(0), 0),
        })
        .collect()
}

/// The text of a value in SET: a literal, a word, or a signed number.
/// The hours of an interval that stands for a time zone.
fn hours_of_interval(text: &str) -> PgResult<f64> {
    let value = shardforge_types::input(oid::INTERVAL, -1, text, &IoEnv::default())?;
    let Datum::Interval(interval) = value else {
        return Err(PgError::internal("an interval is an interval"));
    };
    let invalid = |what: &str| {
        let message = format!("invalid value for parameter \"TimeZone\": \"{text}\"");
        let detail = format!("Cannot specify {what} in time zone interval.");
        PgError::new(SqlState::INVALID_PARAMETER_VALUE, message).detail(detail)
    };
    if interval.months != 0 {
        return Err(invalid("months"));
    }
    if interval.days != 0 {
        return Err(invalid("days"));
    }
    Ok(interval.micros as f64 / 3_600_000_000.0)
}

fn setting_text(name: &str, expr: &Expr) -> PgResult<String> {
    let text = bind::literal_text(expr).ok_or_else(|| {
        PgError::new(SqlState::SYNTAX_ERROR, format!("the value of \"{name}\" must be a constant"))
    })?;
    // SET TIME ZONE INTERVAL '...': hours to the east.
    if name == "timezone" && matches!(expr, Expr::TypeCast(_)) {
        return Ok(hours_of_interval(&text)?.to_string());
    }
    // A list of names is kept so that it can be read back.
    let needs_quotes = name == "search_path"
        && !text.is_empty()
        && !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    Ok(if needs_quotes || (name == "search_path" && text.is_empty()) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    })
}
