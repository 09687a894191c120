//! INSERT, UPDATE and DELETE: `analyze.c`.
//!
//! The written table has up to two sets of column ids: of the row as it is (or was), which the scan produces, and
//! of the row as it will be, which RETURNING sees. Which of them the table's name means depends on the clause.

mod conflict;
mod insert;
mod returning;
mod update;

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{PgError, PgResult, SqlState};

use super::binder::Binder;
use super::relation::{Found, open_relation};
use super::scope::{Columns, Rte};
use super::select::QueryCol;
use super::types::column_ty;
use crate::catalog::TableDesc;
use crate::catalog::builtin::{ProcKind, builtin};
use crate::ir::{Col, ColId, Modify};
use crate::parse::ast;

/// The table that a statement writes.
pub(super) struct Target {
    pub table: Arc<TableDesc>,
    /// Its place among the level's relations.
    pub rte: usize,
    /// First id of the row as it is.
    pub old: u32,
    /// First id of the row as it will be.
    pub new: u32,
}

impl Target {
    /// One column a live attribute, from the given first id.
    pub fn cols(&self, first: u32) -> Vec<(Col, i16)> {
        let live = self.table.live_columns();
        live.map(|(attnum, c)| (Col { id: ColId(first + attnum as u32 - 1), ty: column_ty(c) }, attnum))
            .collect()
    }
}

impl Binder<'_> {
    /// A write, in the level that was pushed for it, and what it returns.
    pub fn modify(&mut self, stmt: &ast::Statement) -> PgResult<(Modify, Vec<QueryCol>)> {
        self.writes = true;
        match stmt {
            ast::Statement::Insert(insert) => self.insert(insert),
            ast::Statement::Update(update) => self.update(update),
            ast::Statement::Delete(delete) => self.delete(delete),
            ast::Statement::Merge(merge) => Err(PgError::not_supported("MERGE is not supported")
                .hint("Use INSERT ... ON CONFLICT, or UPDATE and DELETE.")
                .at(merge.pos)),
            _ => Err(PgError::not_supported("only SELECT, INSERT, UPDATE and DELETE are allowed in WITH")
                .hint("Run the statement on its own.")),
        }
    }

    /// Opens the table that is written, and gives its columns ids. `verb` is for errors: "insert into".
    fn target_table(&mut self, name: &ast::RangeVar, verb: &str) -> PgResult<Target> {
        if name.schema.is_none()
            && self.levels.iter().flat_map(|l| &l.ctes).any(|c| c.name == name.name)
            && open_relation(self.cx, name).is_err()
        {
            let message = format!("relation \"{}\" cannot be the target of a modifying statement", name.name);
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(name.pos));
        }
        let table = match open_relation(self.cx, name)? {
            Found::Table(table) => table,
            Found::System(relation) if relation.kind == b'v' => {
                return Err(not_updatable(verb, relation.name));
            }
            Found::System(relation) => {
                let message = format!("permission denied: \"{}\" is a system catalog", relation.name);
                return Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
            }
            Found::View(view) => {
                let query = super::statement::parse_query(&view.sql)?;
                return Err(match is_simple(&query) {
                    true => cannot_write(verb, &view.name),
                    false => not_updatable(verb, &view.name),
                });
            }
            Found::Sequence(sequence) => {
                let message = format!("cannot change sequence \"{}\"", sequence.name);
                return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
            Found::Index(_, index) => {
                let message = format!("cannot open relation \"{index}\"");
                return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .detail("This operation is not supported for indexes.")
                    .at(name.pos));
            }
        };
        self.note_table(&table, ObjectLockMode::RowExclusive);
        let width = table.columns.len().max(1);
        let old = self.reserve_cols(width);
        let new = self.reserve_cols(width);
        let rte = self.table_rte(&table, name.alias.as_ref().map_or(&name.name, |a| &a.name), old);
        let rte = Rte { aliased: name.alias.is_some(), ..rte };
        let level = self.level();
        level.rtes.push(rte);
        Ok(Target { table, rte: self.level().rtes.len() - 1, old, new })
    }

    /// A relation with a table's columns from an id on.
    fn table_rte(&self, table: &Arc<TableDesc>, name: &Arc<str>, first: u32) -> Rte {
        Rte {
            name: name.clone(),
            aliased: true,
            relation: Some((table.schema, table.oid, Arc::from(table.name.as_str()))),
            columns: Columns::Table { table: table.clone(), first, aliases: Vec::new() },
            is_join: false,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        }
    }

    /// Lets the written table's name mean another set of ids.
    fn point_target(&mut self, target: &Target, first: u32) {
        if let Columns::Table { first: current, .. } = &mut self.level().rtes[target.rte].columns {
            *current = first;
        }
    }

    /// The attribute of a target column; error 42703 if the table has none of the name.
    fn target_column(&self, target: &Target, column: &ast::ColumnTarget) -> PgResult<i16> {
        let table = &target.table;
        let found = table.column_by_name(&column.name).map(|(attnum, _)| attnum);
        found.ok_or_else(|| {
            let message = format!("column \"{}\" of relation \"{}\" does not exist", column.name, table.name);
            PgError::new(SqlState::UNDEFINED_COLUMN, message).at(column.pos)
        })
    }
}

/// Whether a view's query is of the kind through which PostgreSQL writes to its table.
fn is_simple(query: &ast::SelectStmt) -> bool {
    let computes_sets = |target: &ast::ResTarget| match &target.value {
        ast::Expr::FuncCall(call) => {
            call.over.is_some()
                || call.name.last().is_some_and(|name| {
                    let mut procs = builtin().procs_by_name(name).iter();
                    procs.any(|proc| proc.retset || proc.kind == ProcKind::Aggregate)
                })
        }
        _ => false,
    };
    matches!(query.from[..], [ast::TableRef::Table(_)])
        && query.distinct.is_none()
        && query.group_by.is_empty()
        && query.having.is_none()
        && query.set_op.is_none()
        && query.with.is_none()
        && query.limit_count.is_none()
        && query.limit_offset.is_none()
        && !query.targets.iter().any(computes_sets)
}

fn not_updatable(verb: &str, view: &str) -> PgError {
    let message = format!("cannot {verb} view \"{view}\"");
    PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .detail("Only views that select plain columns of one table are automatically updatable.")
}

fn cannot_write(verb: &str, view: &str) -> PgError {
    PgError::not_supported(format!("cannot {verb} view \"{view}\""))
        .detail("Writing through views is not supported.")
        .hint("Write to the table that the view reads.")
}
