//! Entry points: whole statements, and expressions on their own.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{IoEnv, Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::binder::{Binder, Clause, Level};
use super::expr::collation_oid;
use super::scope::{Columns, NsItem, Rte};
use super::types::{self, column_ty, element_type, type_name};
use crate::catalog::builtin::{TypeKind, builtin};
use crate::catalog::{CatalogSnapshot, TableDesc};
use crate::ir::{Col, ColId, OutputColumn, Scalar, Statement, StatementKind, Ty};
use crate::parse::{self, ast};

impl<'a> BindContext<'a> {
    /// The context for expressions that the catalog keeps as text: every name in them is qualified, or of `pg_catalog`
    /// or `public`.
    pub fn for_catalog_text(catalog: &'a CatalogSnapshot, io: &'a IoEnv) -> Self {
        BindContext {
            catalog,
            search_path: &[crate::catalog::well_known::PUBLIC],
            user: crate::catalog::well_known::BOOTSTRAP_ROLE,
            database: "",
            io,
            param_types: Vec::new(),
            temp_schema: None,
        }
    }
}

/// Why a statement cannot be bound, or planned.
#[derive(Debug)]
pub struct Unbound {
    /// The error.
    pub error: PgError,
    /// The tables that had been found by then, and how the statement would lock them.
    pub table_locks: Vec<(Oid, ObjectLockMode)>,
}

/// Binds a SELECT, VALUES, INSERT, UPDATE or DELETE.
///
/// # Errors
/// PostgreSQL's, with byte positions; 0A000 for what is not supported.
pub fn bind_statement(stmt: &ast::Statement, cx: &BindContext<'_>) -> Result<Statement, Unbound> {
    let mut binder = Binder::new(cx);
    match binder.statement(stmt) {
        Ok((kind, output, params)) => Ok(Statement {
            kind,
            output,
            params,
            dependencies: binder.dependencies,
            table_locks: binder.table_locks,
            writes: binder.writes,
            row_lock: binder.row_lock,
        }),
        Err(error) => Err(Unbound { error, table_locks: binder.table_locks }),
    }
}

impl Binder<'_> {
    fn statement(&mut self, stmt: &ast::Statement) -> PgResult<(StatementKind, Vec<OutputColumn>, Vec<Ty>)> {
        let (kind, columns) = match stmt {
            ast::Statement::Select(select) => {
                let mut query = self.nested(Level::new(), |b| b.select(select, true))?;
                self.nested(Level::new(), |b| b.resolve_output(&mut query))?;
                (StatementKind::Query(query.rel), query.cols)
            }
            ast::Statement::Insert(_)
            | ast::Statement::Update(_)
            | ast::Statement::Delete(_)
            | ast::Statement::Merge(_) => {
                let (modify, columns) = self.nested(Level::new(), |b| b.modify(stmt))?;
                (StatementKind::Modify(modify), columns)
            }
            _ => return Err(PgError::internal("only queries and writes are bound")),
        };
        let output = columns
            .into_iter()
            .map(|c| OutputColumn { name: c.name.to_string(), col: without_domain(c.col), origin: c.origin })
            .collect();
        let params = self.finish_params()?;
        Ok((kind, output, params))
    }
}

/// Clients see the type below a domain.
fn without_domain(mut col: Col) -> Col {
    while let Some(desc) = builtin().type_by_oid(col.ty.oid).filter(|t| t.kind == TypeKind::Domain) {
        let typmod = if col.ty.typmod < 0 { desc.typmod } else { col.ty.typmod };
        col.ty = Ty { oid: desc.basetype, typmod, ..col.ty };
    }
    col
}

impl Binder<'_> {
    /// The types of the parameters; every one must have been determined.
    fn finish_params(&self) -> PgResult<Vec<Ty>> {
        // A reference that came before its parameter got a type has none itself.
        let typed = |number: u16| self.params[usize::from(number)] != oid::UNKNOWN;
        if let Some((number, pos)) = self.untyped_params.iter().find(|(number, _)| typed(*number)) {
            let message = format!("could not determine data type of parameter ${}", u32::from(*number) + 1);
            return Err(PgError::new(SqlState::AMBIGUOUS_PARAMETER, message).at(*pos));
        }
        self.params
            .iter()
            .enumerate()
            .map(|(i, ty)| match *ty {
                oid::UNKNOWN => Err(PgError::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${}", i + 1),
                )),
                ty => Ok(Ty::new(ty)),
            })
            .collect()
    }

    /// Binds an expression that belongs to no query.
    pub(super) fn standalone(&mut self, expr: &ast::Expr, clause: &'static str) -> PgResult<Scalar> {
        let level = Level { clause: Clause::Standalone(clause), ..Level::new() };
        self.nested(level, |b| b.expr(expr))
    }

    /// A value for a column, cast as an assignment; error 42804 if it cannot be.
    pub fn assign(&mut self, value: Scalar, name: &str, ty: Ty) -> PgResult<Scalar> {
        let (source, pos) = (value.ty.oid, value.pos);
        self.try_assign(value, ty)?.map_err(|_| {
            let message = format!(
                "column \"{name}\" is of type {} but expression is of type {}",
                type_name(self.cx, ty.oid),
                type_name(self.cx, source)
            );
            let error = PgError::new(SqlState::DATATYPE_MISMATCH, message)
                .hint("You will need to rewrite or cast the expression.");
            match pos {
                Some(pos) => error.at(pos),
                None => error,
            }
        })
    }
}

/// Binds an expression over a table's columns: CHECK, a generated column, a key or predicate of an index. Returns it
/// with the ids of the table's columns by attribute number.
///
/// # Errors
/// As for [`bind_statement`]; aggregates, window functions, sub-selects and parameters are refused.
pub fn bind_table_expression(
    expr: &ast::Expr,
    table: &TableDesc,
    cx: &BindContext<'_>,
) -> PgResult<(Scalar, Vec<(Col, i16)>)> {
    let mut binder = Binder::new(cx);
    let shared = Arc::new(table.clone());
    let level = Level { clause: Clause::Standalone("check constraints"), ..Level::new() };
    let (bound, first) = binder.nested(level, |b| {
        let first = b.reserve_cols(shared.columns.len());
        let rte = Rte {
            name: Arc::from(shared.name.as_str()),
            aliased: false,
            relation: Some((shared.schema, shared.oid, Arc::from(shared.name.as_str()))),
            columns: Columns::Table { table: shared.clone(), first, aliases: Vec::new() },
            is_join: false,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        };
        b.level().rtes.push(rte);
        b.level().namespace.push(NsItem::visible(0));
        let bound = b.expr(expr)?;
        Ok((b.resolve_unknown(bound)?, first))
    })?;
    refuse_params(&binder)?;
    let cols = table
        .live_columns()
        .map(|(attnum, c)| (Col { id: ColId(first + attnum as u32 - 1), ty: column_ty(c) }, attnum))
        .collect();
    Ok((bound, cols))
}

pub(super) fn refuse_params(binder: &Binder<'_>) -> PgResult<()> {
    if binder.params.len() > binder.cx.param_types.len() {
        return Err(PgError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    Ok(())
}

/// Binds a column's DEFAULT, cast to the column's type.
///
/// # Errors
/// As for [`bind_statement`]; column references are refused.
pub fn bind_default(expr: &ast::Expr, column: &str, ty: Ty, cx: &BindContext<'_>) -> PgResult<Scalar> {
    let mut binder = Binder::new(cx);
    let bound = binder.standalone(expr, "DEFAULT expressions")?;
    refuse_params(&binder)?;
    let (source, pos) = (bound.ty.oid, bound.pos);
    binder.try_assign(bound, ty)?.map_err(|_| {
        let message = format!(
            "column \"{column}\" is of type {} but default expression is of type {}",
            type_name(cx, ty.oid),
            type_name(cx, source)
        );
        let error = PgError::new(SqlState::DATATYPE_MISMATCH, message)
            .hint("You will need to rewrite or cast the expression.");
        match pos {
            Some(pos) => error.at(pos),
            None => error,
        }
    })
}

/// Binds an expression without columns: an argument of EXECUTE, ... With a target it is cast as an assignment to it.
///
/// # Errors
/// As for [`bind_statement`]; 42804 if it cannot be cast to the target.
pub fn bind_expression(expr: &ast::Expr, target: Option<Ty>, cx: &BindContext<'_>) -> PgResult<Scalar> {
    let mut binder = Binder::new(cx);
    let bound = binder.standalone(expr, "EXECUTE parameters")?;
    let Some(target) = target else { return binder.nested(Level::new(), |b| b.resolve_unknown(bound)) };
    let (source, pos) = (bound.ty.oid, bound.pos);
    binder.try_assign(bound, target)?.map_err(|_| {
        let message = format!(
            "parameter of type {} cannot be coerced to the expected type {}",
            type_name(cx, source),
            type_name(cx, target.oid)
        );
        let error = PgError::new(SqlState::DATATYPE_MISMATCH, message)
            .hint("You will need to rewrite or cast the expression.");
        match pos {
            Some(pos) => error.at(pos),
            None => error,
        }
    })
}

/// The type that a type name means, with its modifier.
///
/// # Errors
/// 42704 if there is none; what the modifier's input raises.
pub fn resolve_type(name: &ast::TypeName, cx: &BindContext<'_>) -> PgResult<Ty> {
    types::resolve_type_name(cx, name)
}

/// The collation that a COLLATE clause of a column of type `ty` means.
///
/// # Errors
/// 42704 if there is none, 42804 if the type has no collations.
pub fn resolve_collation(clause: &ast::CollateClause, ty: Ty, cx: &BindContext<'_>) -> PgResult<Oid> {
    let elem = element_type(cx, ty.oid).unwrap_or(ty.oid);
    if !builtin().type_by_oid(types::base_type(elem)).is_some_and(|t| t.is_collatable()) {
        let message = format!("collations are not supported by type {}", type_name(cx, ty.oid));
        return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at(clause.pos));
    }
    collation_oid(&clause.name).ok_or_else(|| {
        let message = format!("collation \"{}\" for encoding \"UTF8\" does not exist", clause.name.join("."));
        PgError::new(SqlState::UNDEFINED_OBJECT, message).at(clause.pos)
    })
}

/// The text of a literal, of a word or of a number with a sign: what SET takes as a value.
pub fn literal_text(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Const(constant) => match &constant.value {
            ast::Value::Integer(n) => Some(n.to_string()),
            ast::Value::Float(text) | ast::Value::String(text) | ast::Value::BitString(text) => {
                Some(text.to_string())
            }
            ast::Value::Boolean(b) => Some(if *b { "true" } else { "false" }.to_owned()),
            ast::Value::Null => None,
        },
        ast::Expr::ColumnRef(reference) if !reference.star => Some(reference.names.join(".")),
        ast::Expr::TypeCast(cast) => literal_text(&cast.arg),
        ast::Expr::AExpr(e) if e.left.is_none() && e.name.len() == 1 && &*e.name[0] == "-" => {
            Some(format!("-{}", literal_text(e.right.as_ref()?)?))
        }
        _ => None,
    }
}

/// Parses the text of a view's query.
pub(super) fn parse_query(sql: &str) -> PgResult<ast::SelectStmt> {
    let mut statements = parse::parse(sql)?;
    match (statements.pop(), statements.len()) {
        (Some(ast::RawStatement { stmt: ast::Statement::Select(select), .. }), 0) => Ok(*select),
        _ => Err(PgError::internal("a view is one query")),
    }
}

impl Binder<'_> {
    /// The value that a column has when a statement gives none: its default, the next value of its sequence, or NULL.
    /// A generated column is computed from the row by who writes it; until then it is NULL.
    pub fn column_default(&mut self, table: &TableDesc, attnum: i16) -> PgResult<Scalar> {
        let column = table.column(attnum);
        let ty = column_ty(column);
        if let Some(identity) = &column.identity {
            const NEXTVAL: Oid = Oid(1574);
            let sequence = shardforge_types::Datum::Oid(identity.sequence.0);
            let sequence = Scalar::constant(sequence, Ty::new(oid::REGCLASS));
            let next = Scalar::call(NEXTVAL, vec![sequence], Ty::new(oid::INT8));
            return self.coerced_default(next, &column.name, ty);
        }
        match &column.default {
            Some(default) if !column.generated => {
                let expr = parse::parse_expression(&default.sql)?;
                let io = self.cx.io;
                let cx = BindContext::for_catalog_text(self.cx.catalog, io);
                let mut binder = Binder::new(&cx);
                let bound = binder.standalone(&expr, "DEFAULT expressions")?;
                self.coerced_default(without_positions(bound), &column.name, ty)
            }
            _ => Ok(Scalar::constant(shardforge_types::Datum::Null, ty)),
        }
    }

    fn coerced_default(&mut self, value: Scalar, name: &str, ty: Ty) -> PgResult<Scalar> {
        let value = self.assign(value, name, ty)?;
        Ok(Scalar { pos: None, ..value })
    }
}

/// Positions in a text that is not the statement's would point at the wrong place.
fn without_positions(mut expr: Scalar) -> Scalar {
    let clear = super::walk::rewrite(&mut expr, false, &mut |e, _| {
        e.pos = None;
        Ok(super::walk::Rewrite::Descend)
    });
    debug_assert!(clear.is_ok());
    expr
}
