//! COPY: bulk data in and out, in text, CSV and binary format.
//!
//! * [`options`]: what the options mean, with PostgreSQL's rules about what goes together.
//! * [`reader`]: the client's bytes to rows of field texts (or binary fields).
//! * [`writer`]: rows to lines.

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
use crate::exec::eval::CompiledExpr;
use crate::func;
use crate::parse::ast::{CopyStmt, CopyTarget, RangeVar, SelectStmt, Statement};
use crate::storage::TableWriter;
use options::{CopyFormat, CopyOptions};
use reader::{CopyReader, FieldText};
use writer::CopyWriter;

/// Rows inserted between two looks at the size of the transaction.
const SPILL_CHECK_ROWS: u64 = 1_000;

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
        let query = match (&stmt.query, &stmt.relation) {
            (Some(query), _) => query.clone(),
            (None, Some(relation)) => {
                let found = crate::ddl::find_relation(self, relation)?;
                if let crate::catalog::Relation::View(view) = &found {
                    return Err(PgError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("cannot copy from view \"{}\"", view.name),
                    )
                    .hint("Try the COPY (SELECT ...) TO variant."));
                }
                Statement::Select(Box::new(SelectStmt::of_table(relation, &stmt.columns)))
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
        let quoted = options.force_quote_columns(&names)?;
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
        let next_row_id = || cx.engine.next_row_id();
        let writer = TableWriter {
            txn: &cx.txn,
            layout: &layout,
            env: &cx.env,
            wait: cx.wait,
            next_row_id: &next_row_id,
        };
        let format = if options.format == CopyFormat::Binary { WireFormat::Binary } else { WireFormat::Text };
        out.copy_in(format, target.columns.len()).await?;
        let mut reader = CopyReader::new(options, target.columns.len());
        let mut count = 0u64;
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
                    Err(error) => Err(error),
                };
                let mut row = row.map_err(|error| target.located(error, &reader, &table))?;
                if let Some(filter) = &target.filter
                    && filter.eval(&row, &[], &cx.env)? != Datum::Bool(true)
                {
                    continue;
                }
                writer
                    .insert(&mut row, &|_| false)
                    .await
                    .map_err(|error| target.located(error, &reader, &table))?;
                count += 1;
                if count.is_multiple_of(SPILL_CHECK_ROWS) {
                    cx.txn.spill_if_large().await.map_err(from_kv)?;
                    self.cancel.check()?;
                }
            }
        }
        Ok(Execution::done(format!("COPY {count}")))
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
        let mut columns = Vec::new();
        if stmt.columns.is_empty() {
            columns.extend(table.live_columns().filter(|(_, c)| !c.generated).map(|(a, _)| a as usize - 1));
        }
        for name in &stmt.columns {
            let Some((attnum, column)) = table.column_by_name(name) else {
                return Err(PgError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                ));
            };
            if column.generated {
                return Err(PgError::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    format!("column \"{name}\" is a generated column"),
                )
                .detail("Generated columns cannot be used in COPY."));
            }
            let position = attnum as usize - 1;
            if columns.contains(&position) {
                return Err(PgError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{name}\" specified more than once"),
                ));
            }
            columns.push(position);
        }
        let mut defaults = Vec::new();
        for (attnum, column) in table.live_columns() {
            let position = attnum as usize - 1;
            if columns.contains(&position) || column.generated {
                continue;
            }
            let scalar = self.with_bind_context(|cx| bind::column_default(table, attnum, cx))?;
            if let Some(scalar) = scalar {
                defaults.push((position, CompiledExpr::compile(&scalar, &|_| None)?));
            }
        }
        let filter = match &stmt.where_clause {
            None => None,
            Some(expr) => {
                let (scalar, cols) =
                    self.with_bind_context(|cx| bind::bind_table_expression(expr, table, cx))?;
                Some(CompiledExpr::compile(&scalar, &|id| {
                    cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
                })?)
            }
        };
        let names: Vec<String> = columns.iter().map(|p| table.columns[*p].name.clone()).collect();
        let force = |list: &Option<Vec<String>>| -> PgResult<Vec<bool>> { CopyOptions::flags(list, &names) };
        Ok(CopyPlan {
            types: columns.iter().map(|p| (table.columns[*p].ty, table.columns[*p].typmod)).collect(),
            force_not_null: force(&options.force_not_null)?,
            force_null: force(&options.force_null)?,
            width: table.columns.len(),
            columns,
            names,
            defaults,
            filter,
        })
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
    defaults: Vec<(usize, CompiledExpr)>,
    filter: Option<CompiledExpr>,
}

impl CopyPlan {
    fn row(
        &self,
        fields: &[FieldText<'_>],
        options: &CopyOptions,
        env: &crate::exec::env::EvalEnv,
    ) -> PgResult<Vec<Datum>> {
        let mut row = vec![Datum::Null; self.width];
        if fields.len() > self.columns.len() {
            return Err(PgError::new(
                SqlState::BAD_COPY_FILE_FORMAT,
                "extra data after last expected column",
            ));
        }
        for (i, position) in self.columns.iter().enumerate() {
            let Some(field) = fields.get(i) else {
                return Err(PgError::new(
                    SqlState::BAD_COPY_FILE_FORMAT,
                    format!("missing data for column \"{}\"", self.names[i]),
                ));
            };
            let (ty, typmod) = self.types[i];
            row[*position] = match field {
                FieldText::Binary(None) => Datum::Null,
                FieldText::Binary(Some(bytes)) => shardforge_types::recv(ty, typmod, bytes)
                    .map_err(|error| error.context(format!("column {}", self.names[i])))?,
                FieldText::Text { text, quoted } => {
                    let is_null = **text == *options.null
                        && (!*quoted || self.force_null[i])
                        && !(self.force_not_null[i] && options.format == CopyFormat::Csv);
                    if is_null {
                        Datum::Null
                    } else {
                        func::input(ty, typmod, text, env).map_err(|error| {
                            error.context(format!("column {}: \"{}\"", self.names[i], shortened(text)))
                        })?
                    }
                }
            };
        }
        for (position, default) in &self.defaults {
            row[*position] = default.eval(&Vec::new(), &[], env)?;
        }
        Ok(row)
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
