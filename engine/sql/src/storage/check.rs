//! NOT NULL and CHECK constraints, generated columns, and rows as error messages show them.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::layout::{KeySource, TableLayout};
use crate::catalog::{IndexDesc, IndexKey};
use crate::exec::env::EvalEnv;
use crate::func;

/// Longest value shown in DETAIL, in bytes.
const ROW_VALUE_BYTES_MAX: usize = 64;

impl TableLayout {
    /// Computes a row's generated columns and checks its NOT NULL and CHECK constraints.
    ///
    /// # Errors
    /// 23502, 23514, and what the expressions raise.
    pub fn check_row(&self, row: &mut [Datum], env: &EvalEnv) -> PgResult<()> {
        for (position, expr) in &self.generated {
            row[*position] = expr.eval(&&*row, &[], env)?;
        }
        let table = &self.table;
        for (attnum, column) in table.live_columns() {
            if column.not_null.is_some() && row[attnum as usize - 1].is_null() {
                return Err(PgError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!(
                        "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                        column.name, table.name
                    ),
                )
                .detail(format!("Failing row contains {}.", row_text(self, row, env)))
                .schema(schema_name(self, env))
                .table(&*table.name)
                .column(&*column.name));
            }
        }
        for (name, condition) in &self.checks {
            if condition.eval(&&*row, &[], env)? == Datum::Bool(false) {
                return Err(PgError::new(
                    SqlState::CHECK_VIOLATION,
                    format!("new row for relation \"{}\" violates check constraint \"{name}\"", table.name),
                )
                .detail(format!("Failing row contains {}.", row_text(self, row, env)))
                .schema(schema_name(self, env))
                .table(&*table.name)
                .constraint(&**name));
            }
        }
        Ok(())
    }
}

/// The key of a row in an index as error messages show it: `(a, b)=(1, x)`.
pub fn key_text(layout: &TableLayout, index: &IndexDesc, row: &[Datum], env: &EvalEnv) -> String {
    let parts = match layout.indexes.iter().find(|i| layout.table.indexes[i.position].oid == index.oid) {
        Some(secondary) => Some(&secondary.parts),
        None => layout.key.as_ref(),
    };
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (part, column) in parts.into_iter().flatten().zip(&index.columns) {
        match (&part.source, &column.key) {
            (KeySource::Column(position), _) => {
                names.push(layout.table.columns[*position].name.clone());
                values.push(value_text(part.ty, &row[*position], env));
            }
            (KeySource::Expression(expr), IndexKey::Expression(sql)) => {
                names.push(sql.clone());
                let value = expr.eval(&row, &[], env).unwrap_or(Datum::Null);
                values.push(value_text(part.ty, &value, env));
            }
            (KeySource::Expression(_), IndexKey::Column(_)) => {}
        }
    }
    format!("({})=({})", names.join(", "), values.join(", "))
}

/// The name of a table's schema.
pub fn schema_name(layout: &TableLayout, env: &EvalEnv) -> String {
    env.catalog.schemas.get(&layout.table.schema).map_or_else(String::new, |schema| schema.name.clone())
}

/// A row as PostgreSQL shows it in DETAIL; long values are cut.
fn row_text(layout: &TableLayout, row: &[Datum], env: &EvalEnv) -> String {
    let shown = layout.table.live_columns().map(|(attnum, column)| {
        let value = value_text(column.ty, &row[attnum as usize - 1], env);
        if value.len() <= ROW_VALUE_BYTES_MAX {
            value
        } else {
            format!("{}...", &value[..value.floor_char_boundary(ROW_VALUE_BYTES_MAX)])
        }
    });
    format!("({})", shown.collect::<Vec<_>>().join(", "))
}

/// A value as messages show it.
pub fn value_text(ty: Oid, value: &Datum, env: &EvalEnv) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let mut out = Vec::new();
    func::output(ty, value, env, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
