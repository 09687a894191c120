//! Violations of foreign keys, in PostgreSQL's words.

use shardforge_types::{Datum, PgError, SqlState};

use super::relationship::Relationship;
use crate::catalog::TableDesc;
use crate::exec::env::EvalEnv;
use crate::storage::value_text;

impl Relationship {
    /// A row references a key that is not there.
    pub fn missing(&self, key: &[Datum], env: &EvalEnv) -> PgError {
        let error = self.child_error(env);
        if key.iter().any(Datum::is_null) {
            return error.detail("MATCH FULL does not allow mixing of null and nonnull key values.");
        }
        let shown = key_shown(&self.child, &self.fk.columns, key, env);
        error.detail(format!("Key {shown} is not present in table \"{}\".", self.parent.name))
    }

    fn child_error(&self, env: &EvalEnv) -> PgError {
        let message = format!(
            "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
            self.child.name, self.fk.name
        );
        self.about(PgError::new(SqlState::FOREIGN_KEY_VIOLATION, message), env)
    }

    /// A key is gone that rows reference.
    pub fn still_referenced(&self, key: &[Datum], restrict: bool, env: &EvalEnv) -> PgError {
        let (setting, state, still) = if restrict {
            ("RESTRICT setting of ", SqlState::RESTRICT_VIOLATION, "")
        } else {
            ("", SqlState::FOREIGN_KEY_VIOLATION, "still ")
        };
        let message = format!(
            "update or delete on table \"{}\" violates {setting}foreign key constraint \"{}\" on table \"{}\"",
            self.parent.name, self.fk.name, self.child.name
        );
        let shown = key_shown(&self.parent, &self.fk.ref_columns, key, env);
        self.about(PgError::new(state, message), env)
            .detail(format!("Key {shown} is {still}referenced from table \"{}\".", self.child.name))
    }

    /// The statement by which PostgreSQL locks the referenced row, for the context of errors.
    pub fn lock_statement(&self, env: &EvalEnv) -> String {
        let columns = self.fk.ref_columns.iter().enumerate();
        let conditions = columns.map(|(i, attnum)| {
            format!("{} OPERATOR(pg_catalog.=) ${}", quoted(&self.parent.column(*attnum).name), i + 1)
        });
        select_for_key_share(&self.parent, conditions, env)
    }

    /// The statement by which PostgreSQL locks a referencing row, for the context of errors.
    pub fn child_lock_statement(&self, env: &EvalEnv) -> String {
        let columns = self.fk.columns.iter().enumerate();
        let conditions = columns.map(|(i, attnum)| {
            format!("${} OPERATOR(pg_catalog.=) {}", i + 1, quoted(&self.child.column(*attnum).name))
        });
        select_for_key_share(&self.child, conditions, env)
    }

    fn about(&self, error: PgError, env: &EvalEnv) -> PgError {
        let schema = env.catalog.schemas.get(&self.child.schema);
        error
            .schema(schema.map_or_else(String::new, |schema| schema.name.clone()))
            .table(&*self.child.name)
            .constraint(&*self.fk.name)
    }
}

fn select_for_key_share(
    table: &TableDesc,
    conditions: impl Iterator<Item = String>,
    env: &EvalEnv,
) -> String {
    let schema = env.catalog.schemas.get(&table.schema).map_or("", |schema| schema.name.as_str());
    format!(
        "SQL statement \"SELECT 1 FROM ONLY {}.{} x WHERE {} FOR KEY SHARE OF x\"",
        quoted(schema),
        quoted(&table.name),
        conditions.collect::<Vec<_>>().join(" AND ")
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `(a, b)=(1, x)`
fn key_shown(table: &TableDesc, columns: &[i16], key: &[Datum], env: &EvalEnv) -> String {
    let columns = || columns.iter().map(|attnum| table.column(*attnum));
    let names: Vec<&str> = columns().map(|column| column.name.as_str()).collect();
    let values: Vec<String> =
        columns().zip(key).map(|(column, value)| value_text(column.ty, value, env)).collect();
    format!("({})=({})", names.join(", "), values.join(", "))
}
