//! Expressions of ALTER TABLE.

use shardforge_types::{PgError, PgResult, SqlState};

use super::BindContext;
use super::binder::Binder;
use super::statement::{bind_table_expression, refuse_params};
use crate::catalog::TableDesc;
use crate::catalog::builtin::CastContext;
use crate::ir::{Col, ColId, Scalar, ScalarKind, Ty};
use crate::parse::ast;

/// The conversion of a column to another type: of its own value, or of what USING gives. Returns it with the ids of
/// the table's columns by attribute number.
///
/// # Errors
/// 42804 if the value cannot be cast to the type as in an assignment.
pub fn bind_column_conversion(
    using: Option<&ast::Expr>,
    table: &TableDesc,
    attnum: i16,
    ty: Ty,
    cx: &BindContext<'_>,
) -> PgResult<(Scalar, Vec<(Col, i16)>)> {
    let column = table.column(attnum);
    let name: ast::Name = column.name.as_str().into();
    let own =
        ast::Expr::ColumnRef(ast::ColumnRef { names: std::iter::once(name).collect(), star: false, pos: 0 });
    let (value, cols) = bind_table_expression(using.unwrap_or(&own), table, cx)?;
    let mut binder = Binder::new(cx);
    let target = super::format_type(cx, ty.oid, -1);
    let converted = binder.try_assign(value, ty)?.map_err(|_| {
        if using.is_some() {
            PgError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "result of USING clause for column \"{}\" cannot be cast automatically to type {target}",
                    column.name
                ),
            )
            .hint("You might need to add an explicit cast.")
        } else {
            let written = super::format_type(cx, ty.oid, ty.typmod);
            PgError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("column \"{}\" cannot be cast automatically to type {target}", column.name),
            )
            .hint(format!("You might need to specify \"USING {}::{written}\".", column.name))
        }
    })?;
    Ok((converted, cols))
}

/// The column that the expressions of [`bind_key_cast`] and [`bind_assignment`] read.
pub const INPUT: ColId = ColId(0);

/// A referencing value as one of the referenced column's type; `None` if it does not convert implicitly.
///
/// # Errors
/// What binding raises.
pub fn bind_key_cast(from: Ty, to: Ty, cx: &BindContext<'_>) -> PgResult<Option<Scalar>> {
    let target = Ty { typmod: -1, ..to };
    let value = Scalar::column(INPUT, from);
    Ok(Binder::new(cx).coerce_to_target(value, target, CastContext::Implicit)?.ok())
}

/// A value assigned to a column: `None` if its type cannot be.
///
/// # Errors
/// What binding raises.
pub fn bind_assignment(from: Ty, to: Ty, cx: &BindContext<'_>) -> PgResult<Option<Scalar>> {
    Ok(Binder::new(cx).try_assign(Scalar::column(INPUT, from), to)?.ok())
}

/// A value for a column of a key, cast as an assignment to it. `name` is what errors call the column.
///
/// # Errors
/// 42804 if it cannot be cast, 42P02 for parameters, what binding raises.
pub fn bind_key_value(expr: &ast::Expr, name: &str, ty: Ty, cx: &BindContext<'_>) -> PgResult<Scalar> {
    let mut binder = Binder::new(cx);
    let bound = binder.standalone(expr, "SPLIT AT")?;
    refuse_params(&binder)?;
    binder.assign(bound, name, ty)
}

/// The value that a column has when a statement gives none; `None` for NULL.
///
/// # Errors
/// If the stored default no longer binds.
pub fn column_default(table: &TableDesc, attnum: i16, cx: &BindContext<'_>) -> PgResult<Option<Scalar>> {
    let value = Binder::new(cx).column_default(table, attnum)?;
    let is_null = matches!(&value.kind, ScalarKind::Const(value) if value.is_null());
    Ok((!is_null).then_some(value))
}
