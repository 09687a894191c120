//! COPY: bulk data in and out, in text, CSV and binary format.
//!
//! * [`options`]: what the options mean, with PostgreSQL's rules about what goes together.
//! * [`batch`]: rows that are inserted together.
//! * [`reader`]: the client's bytes to rows of field texts (or binary fields).
//! * [`writer`]: rows to lines.

mod batch;
mod options;
mod reader;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::ObjectLockMode;
use shardforge_pgwire::{Format as WireFormat, Responder};
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::PgSession;
use super::error::from_kv;
use super::execute::Execution;
use crate::bind;
use crate::catalog::TableDesc;
use crate::exec::env::EvalEnv;
use crate::exec::eval::CompiledExpr;
use crate::func;
use crate::ir::Col;
use crate::parse::ast::{CopyStmt, CopyTarget, Name, RangeVar, SelectStmt, Statement};
use crate::plan::single::{is_volatile, is_volatile_but_for_nextval};
use crate::ri;
use crate::storage::TableWriter;
use batch::RowBatch;
use options::{CopyFormat, CopyOptions, LogVerbosity, OnError};
use reader::{CopyReader, FieldText};
use writer::CopyWriter;

impl PgSession {
    /// COPY.
    ///
    /// # Errors
    /// Whatever it raises; errors in data carry the line in CONTEXT.
    pub(super) async fn copy(
        &mut self,
        stmt: &CopyStmt,
        sql: &Arc<str>,
        out: &mut Responder,
    ) -> PgResult<Execution> {
        let options = CopyOptions::parse(&stmt.options, stmt.is_from)?;
        match &stmt.target {
            CopyTarget::Stdio => {}
            CopyTarget::File(_) | CopyTarget::Program(_) => {
                return Err(PgError::not_supported(
                    "COPY with a file or program on the server is not supported yet",
                )
                .hint("Use COPY ... FROM STDIN or TO STDOUT, or psql's \\copy."));
            }
        }
        if stmt.is_from {
            self.copy_from(stmt, &options, out).await
        } else {
            self.copy_to(stmt, &options, sql, out).await
        }
    }

    async fn copy_to(
        &mut self,
        stmt: &CopyStmt,
        options: &CopyOptions,
        sql: &Arc<str>,
        out: &mut Responder,
    ) -> PgResult<Execution> {
        let mut table = None;
        let query = match (&stmt.query, &stmt.relation) {
            (Some(Statement::CreateTableAs(_)), _) => {
                return Err(PgError::not_supported("COPY (SELECT INTO) is not supported"));
            }
            (Some(query), _) => query.clone(),
            (None, Some(relation)) => {
                let found = crate::ddl::find_relation(self, relation)?;
                let mut columns = stmt.columns.clone();
                if let crate::catalog::Relation::Table(found) = &found {
                    let copied = copied_columns(found, &stmt.columns)?;
                    if found.columns.iter().any(|column| column.generated) {
                        let name = |position: &usize| found.columns[*position].name.as_str().into();
                        columns = copied.iter().map(name).collect();
                    }
                    table = Some(found.clone());
                }
                if let crate::catalog::Relation::View(view) = &found {
                    return Err(PgError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("cannot copy from view \"{}\"", view.name),
                    )
                    .hint("Try the COPY (SELECT ...) TO variant."));
                }
                Statement::Select(Box::new(SelectStmt::of_table(relation, &columns)))
            }
            (None, None) => return Err(PgError::internal("COPY of nothing")),
        };
        let prepared = self.prepare(sql.clone(), Some(Arc::new(query)), &[]).await?;
        let mut execution = self.start(&prepared, Arc::new([])).await?;
        let Some((mut cursor, cx)) = execution.cursor.take().map(|running| *running) else {
            return Err(PgError::not_supported("COPY query must have a RETURNING clause"));
        };
        let types: Vec<Oid> = execution.output.iter().map(|column| column.col.ty.oid).collect();
        let names: Vec<&str> = execution.output.iter().map(|column| &*column.name).collect();
        let is_column = |name: &str| table.as_ref().is_some_and(|t| t.column_by_name(name).is_some());
        let quoted = CopyOptions::flags(&options.force_quote, "FORCE_QUOTE", &names, &is_column)?;
        let format = if options.format == CopyFormat::Binary { WireFormat::Binary } else { WireFormat::Text };
        out.copy_out_begin(format, types.len());
        let mut writer = CopyWriter::new(out, options, types, quoted, &cx.env);
        writer.begin(&names)?;
        let mut count = 0;
        loop {
            let progress = cursor.fetch(&cx, usize::MAX, &mut writer).await?;
            count += progress.rows as u64;
            if progress.done {
                break;
            }
            writer.flush_if_full().await?;
            self.cancel.check()?;
        }
        writer.end()?;
        out.copy_out_done();
        Ok(Execution::done(format!("COPY {count}")))
    }

    async fn copy_from(
        &mut self,
        stmt: &CopyStmt,
        options: &CopyOptions,
        out: &mut Responder,
    ) -> PgResult<Execution> {
        let Some(relation) = &stmt.relation else { return Err(PgError::internal("COPY FROM into nothing")) };
        if self.ensure_txn().read_only {
            return Err(PgError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                "cannot execute COPY FROM in a read-only transaction",
            ));
        }
        let table = self.copy_target(relation).await?;
        let target = self.copy_plan(&table, stmt, options)?;
        let txn = self.ensure_txn();
        txn.used = true;
        txn.txn.begin_statement();
        let cx = self.exec_context(Arc::new([]));
        let layout = self.engine.layout(&table, &cx.env.catalog)?;
        let writer = TableWriter::new(&cx, &layout);
        let format = if options.format == CopyFormat::Binary { WireFormat::Binary } else { WireFormat::Text };
        out.copy_in(format, target.columns.len()).await?;
        let mut reader = CopyReader::new(options, target.columns.len());
        let mut batch = RowBatch::new(target.one_by_one);
        let (mut count, mut skipped) = (0u64, 0u64);
        let mut done = false;
        while !done {
            match out.copy_data_in().await? {
                Some(data) => {
                    let data: Bytes = data;
                    reader.feed(&data);
                }
                None => {
                    reader.finish();
                    done = true;
                }
            }
            loop {
                let row = match reader.next_row() {
                    Ok(None) => break,
                    Ok(Some(fields)) if fields.is_header(options) => {
                        fields.check_header(options, &target.names)?;
                        continue;
                    }
                    Ok(Some(fields)) => target.row(&fields.list, options, &cx.env),
                    Err(error) => Err(error.into()),
                };
                let mut row = match row {
                    Ok(row) => row,
                    Err(RowError::BadValue { column, text, .. }) if options.on_error == OnError::Ignore => {
                        skipped += 1;
                        let place = (&*target.names[column], &*text, reader.line());
                        self.skip_row(options, skipped, place)
                            .map_err(|error| target.located(error, &reader, &table))?;
                        continue;
                    }
                    Err(RowError::Fatal(error) | RowError::BadValue { error, .. }) => {
                        return Err(target.located(error, &reader, &table));
                    }
                };
                let passed = target.passes(&mut row, &writer, &cx.env);
                if !passed.map_err(|error| target.located(error, &reader, &table))? {
                    continue;
                }
                batch.push(row, reader.line(), reader.line_bytes());
                if batch.is_full() {
                    count += target.insert(&mut batch, &writer, &reader, &table).await?;
                    cx.txn.spill_if_large().await.map_err(from_kv)?;
                    ri::during_statement(&cx).await?;
                    self.cancel.check()?;
                }
            }
        }
        count += target.insert(&mut batch, &writer, &reader, &table).await?;
        ri::after_statement(&cx).await?;
        if skipped > 0 && options.log_verbosity >= LogVerbosity::Default {
            let rows = if skipped == 1 { "row was" } else { "rows were" };
            self.notice(format!("{skipped} {rows} skipped due to data type incompatibility"));
        }
        Ok(Execution::done(format!("COPY {count}")))
    }

    /// Leaves a row out, within REJECT_LIMIT.
    fn skip_row(
        &self,
        options: &CopyOptions,
        skipped: u64,
        (column, text, line): (&str, &str, u64),
    ) -> PgResult<()> {
        if options.log_verbosity == LogVerbosity::Verbose {
            self.notice(format!(
                "skipping row due to data type incompatibility at line {line} for column \"{column}\": \"{}\"",
                shortened(text)
            ));
        }
        match options.reject_limit {
            Some(limit) if skipped > limit => {
                let message =
                    format!("skipped more than REJECT_LIMIT ({limit}) rows due to data type incompatibility");
                Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message))
            }
            _ => Ok(()),
        }
    }

    async fn copy_target(&mut self, relation: &RangeVar) -> PgResult<Arc<TableDesc>> {
        let found = crate::ddl::find_relation(self, relation)?;
        if let crate::catalog::Relation::View(view) = &found {
            return Err(PgError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("cannot copy to view \"{}\"", view.name),
            )
            .hint("To enable copying to a view, provide an INSTEAD OF INSERT trigger."));
        }
        self.lock_table_by_name(relation, ObjectLockMode::RowExclusive).await
    }

    fn copy_plan(
        &mut self,
        table: &Arc<TableDesc>,
        stmt: &CopyStmt,
        options: &CopyOptions,
    ) -> PgResult<CopyPlan> {
        let columns = copied_columns(table, &stmt.columns)?;
        let mut one_by_one = false;
        let mut default_of = |attnum: i16| {
            let scalar = self.with_bind_context(|cx| bind::column_default(table, attnum, cx))?;
            one_by_one |= scalar.as_ref().is_some_and(is_volatile_but_for_nextval);
            scalar.map(|scalar| CompiledExpr::compile(&scalar, &|_| None)).transpose()
        };
        let mut defaults = Vec::new();
        for (attnum, column) in table.live_columns() {
            let position = attnum as usize - 1;
            if columns.contains(&position) || column.generated {
                continue;
            }
            if let Some(default) = default_of(attnum)? {
                defaults.push((position, default));
            }
        }
        let mut own_defaults = Vec::new();
        if options.default.is_some() {
            for position in &columns {
                own_defaults.push(default_of(*position as i16 + 1)?);
            }
        }
        let filter = match &stmt.where_clause {
            None => None,
            Some(expr) => {
                let (scalar, cols) =
                    self.with_bind_context(|cx| bind::bind_table_expression(expr, table, cx))?;
                let is_generated = |used: &Col| {
                    cols.iter().any(|(col, attnum)| col.id == used.id && table.column(*attnum).generated)
                };
                if scalar.used_columns().iter().any(is_generated) {
                    let message = "generated columns are not supported in COPY FROM WHERE conditions";
                    return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                }
                one_by_one |= is_volatile(&scalar);
                Some(CompiledExpr::compile(&scalar, &|id| {
                    cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
                })?)
            }
        };
        let names: Vec<String> = columns.iter().map(|p| table.columns[*p].name.clone()).collect();
        let is_column = |name: &str| table.column_by_name(name).is_some();
        let force = |list: &Option<Vec<String>>, option: &str| -> PgResult<Vec<bool>> {
            CopyOptions::flags(list, option, &names, &is_column)
        };
        Ok(CopyPlan {
            types: columns.iter().map(|p| (table.columns[*p].ty, table.columns[*p].typmod)).collect(),
            force_not_null: force(&options.force_not_null, "FORCE_NOT_NULL")?,
            force_null: force(&options.force_null, "FORCE_NULL")?,
            width: table.columns.len(),
            columns,
            names,
            defaults,
            own_defaults,
            filter,
            one_by_one,
        })
    }
}

/// Positions of the columns that COPY reads or writes: those named, or all but generated ones.
fn copied_columns(table: &TableDesc, names: &[Name]) -> PgResult<Vec<usize>> {
    if names.is_empty() {
        let plain = table.live_columns().filter(|(_, column)| !column.generated);
        return Ok(plain.map(|(attnum, _)| attnum as usize - 1).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let Some((attnum, column)) = table.column_by_name(name) else {
            return Err(PgError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            ));
        };
        if column.generated {
            let message = format!("column \"{name}\" is a generated column");
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                .detail("Generated columns cannot be used in COPY."));
        }
        let position = attnum as usize - 1;
        if columns.contains(&position) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        columns.push(position);
    }
    Ok(columns)
}

/// Why fields do not become a row.
enum RowError {
    Fatal(PgError),
    /// A field is no value of its column's type: ON_ERROR decides.
    BadValue {
        error: PgError,
        column: usize,
        text: String,
    },
}

impl From<PgError> for RowError {
    fn from(error: PgError) -> Self {
        RowError::Fatal(error)
    }
}

/// How fields become a row.
struct CopyPlan {
    columns: Vec<usize>,
    names: Vec<String>,
    types: Vec<(Oid, i32)>,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
    width: usize,
    /// Of the columns that the data does not have.
    defaults: Vec<(usize, CompiledExpr)>,
    /// Of those that it has, if it may ask for them.
    own_defaults: Vec<Option<CompiledExpr>>,
    filter: Option<CompiledExpr>,
    /// Each row is inserted before the next one is looked at.
    one_by_one: bool,
}

impl CopyPlan {
    fn row(
        &self,
        fields: &[FieldText<'_>],
        options: &CopyOptions,
        env: &EvalEnv,
    ) -> Result<Vec<Datum>, RowError> {
        let mut row = vec![Datum::Null; self.width];
        if fields.len() > self.columns.len() {
            let message = "extra data after last expected column";
            return Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, message).into());
        }
        for (i, position) in self.columns.iter().enumerate() {
            let Some(field) = fields.get(i) else {
                let message = format!("missing data for column \"{}\"", self.names[i]);
                return Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, message).into());
            };
            row[*position] = match field {
                FieldText::Binary(None) => Datum::Null,
                FieldText::Binary(Some(bytes)) => {
                    let (ty, typmod) = self.types[i];
                    shardforge_types::recv(ty, typmod, bytes)
                        .map_err(|error| error.context(format!("column {}", self.names[i])))?
                }
                FieldText::Null if !self.force_not_null[i] => Datum::Null,
                FieldText::Null => self.value(i, &options.null, env)?,
                FieldText::Text(text) if self.force_null[i] && **text == *options.null => Datum::Null,
                FieldText::Text(text) => self.value(i, text, env)?,
                FieldText::Default => match &self.own_defaults[i] {
                    Some(default) => default.eval(&Vec::new(), &[], env)?,
                    None => {
                        let detail = format!("Column \"{}\" has no default value.", self.names[i]);
                        let message = "unexpected default marker in COPY data";
                        return Err(RowError::Fatal(
                            PgError::new(SqlState::BAD_COPY_FILE_FORMAT, message).detail(detail),
                        ));
                    }
                },
            };
        }
        for (position, default) in &self.defaults {
            row[*position] = default.eval(&Vec::new(), &[], env)?;
        }
        Ok(row)
    }

    /// The value that a column's field is in text.
    fn value(&self, i: usize, text: &str, env: &EvalEnv) -> Result<Datum, RowError> {
        let (ty, typmod) = self.types[i];
        func::input(ty, typmod, text, env).map_err(|error| RowError::BadValue {
            error: error.context(format!("column {}: \"{}\"", self.names[i], shortened(text))),
            column: i,
            text: text.to_owned(),
        })
    }

    /// Whether WHERE lets a row in; what the table demands of its rows is checked then.
    fn passes(&self, row: &mut [Datum], writer: &TableWriter<'_>, env: &EvalEnv) -> PgResult<bool> {
        if let Some(filter) = &self.filter
            && filter.eval(&&*row, &[], env)? != Datum::Bool(true)
        {
            return Ok(false);
        }
        writer.check_row(row)?;
        Ok(true)
    }

    async fn insert(
        &self,
        batch: &mut RowBatch,
        writer: &TableWriter<'_>,
        reader: &CopyReader,
        table: &TableDesc,
    ) -> PgResult<u64> {
        batch.insert(writer).await.map_err(|(mut error, line)| {
            if !batch.hides_text() {
                return self.located(error, reader, table);
            }
            error.fields_mut().where_ = Some(format!("COPY {}, line {line}", table.name));
            error
        })
    }

    /// Adds the line to an error, as PostgreSQL does: `COPY t, line 3, column a: "x"`.
    fn located(&self, mut error: PgError, reader: &CopyReader, table: &TableDesc) -> PgError {
        let fields = error.fields_mut();
        let column = fields.where_.take();
        let mut place = format!("COPY {}, line {}", table.name, reader.line());
        match column {
            Some(column) => {
                place.push_str(", ");
                place.push_str(&column);
            }
            None => {
                if let Some(line) = reader.current_line() {
                    place.push_str(&format!(": \"{}\"", shortened(&line)));
                }
            }
        }
        fields.where_ = Some(place);
        error
    }
}

/// At most 100 bytes of a value, for CONTEXT.
fn shortened(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    if text.len() <= SHOWN_BYTES_MAX {
        text.to_owned()
    } else {
        format!("{}...", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)])
    }
}
