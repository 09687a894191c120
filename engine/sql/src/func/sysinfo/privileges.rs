//! `has_table_privilege` and its kin: each in six forms, by the name or oid of the role (or the current one) and of the
//! object.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid as types};

use super::definitions::{oid, relation_by_name};
use crate::catalog::info::{self, PrivilegeTarget};
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::registry::KernelTable;
use crate::func::regtypes;

/// A kind of object that privileges are granted on.
#[derive(Clone, Copy)]
enum Kind {
    Table,
    Sequence,
    Schema,
    Database,
    Function,
    Type,
    Language,
    Tablespace,
}

macro_rules! kernels {
    ($($kind:ident: $name_name:literal $name_id:literal $id_name:literal $id_id:literal $name:literal $id:literal;)*) => {
        #[rustfmt::skip]
        pub(super) const KERNELS: KernelTable = &[
            $(
                ($name_name, |a, _, env| answer(Kind::$kind, Some(0), a, 1, env)),
                ($name_id, |a, _, env| answer(Kind::$kind, Some(0), a, 1, env)),
                ($id_name, |a, _, env| answer(Kind::$kind, Some(0), a, 1, env)),
                ($id_id, |a, _, env| answer(Kind::$kind, Some(0), a, 1, env)),
                ($name, |a, _, env| answer(Kind::$kind, None, a, 0, env)),
                ($id, |a, _, env| answer(Kind::$kind, None, a, 0, env)),
            )*
            ("has_column_privilege_name_name_name", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_name_name_attnum", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_name_id_name", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_name_id_attnum", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_id_name_name", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_id_name_attnum", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_id_id_name", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_id_id_attnum", |a, _, env| column(Some(0), a, 1, env)),
            ("has_column_privilege_name_name", |a, _, env| column(None, a, 0, env)),
            ("has_column_privilege_name_attnum", |a, _, env| column(None, a, 0, env)),
            ("has_column_privilege_id_name", |a, _, env| column(None, a, 0, env)),
            ("has_column_privilege_id_attnum", |a, _, env| column(None, a, 0, env)),
            ("pg_has_role_name_name", |a, _, env| has_role(Some(0), a, 1, env)),
            ("pg_has_role_name_id", |a, _, env| has_role(Some(0), a, 1, env)),
            ("pg_has_role_id_name", |a, _, env| has_role(Some(0), a, 1, env)),
            ("pg_has_role_id_id", |a, _, env| has_role(Some(0), a, 1, env)),
            ("pg_has_role_name", |a, _, env| has_role(None, a, 0, env)),
            ("pg_has_role_id", |a, _, env| has_role(None, a, 0, env)),
        ];
    };
}

kernels! {
    Table: "has_table_privilege_name_name" "has_table_privilege_name_id" "has_table_privilege_id_name"
        "has_table_privilege_id_id" "has_table_privilege_name" "has_table_privilege_id";
    Table: "has_any_column_privilege_name_name" "has_any_column_privilege_name_id" "has_any_column_privilege_id_name"
        "has_any_column_privilege_id_id" "has_any_column_privilege_name" "has_any_column_privilege_id";
    Sequence: "has_sequence_privilege_name_name" "has_sequence_privilege_name_id" "has_sequence_privilege_id_name"
        "has_sequence_privilege_id_id" "has_sequence_privilege_name" "has_sequence_privilege_id";
    Schema: "has_schema_privilege_name_name" "has_schema_privilege_name_id" "has_schema_privilege_id_name"
        "has_schema_privilege_id_id" "has_schema_privilege_name" "has_schema_privilege_id";
    Database: "has_database_privilege_name_name" "has_database_privilege_name_id" "has_database_privilege_id_name"
        "has_database_privilege_id_id" "has_database_privilege_name" "has_database_privilege_id";
    Function: "has_function_privilege_name_name" "has_function_privilege_name_id" "has_function_privilege_id_name"
        "has_function_privilege_id_id" "has_function_privilege_name" "has_function_privilege_id";
    Type: "has_type_privilege_name_name" "has_type_privilege_name_id" "has_type_privilege_id_name"
        "has_type_privilege_id_id" "has_type_privilege_name" "has_type_privilege_id";
    Language: "has_language_privilege_name_name" "has_language_privilege_name_id" "has_language_privilege_id_name"
        "has_language_privilege_id_id" "has_language_privilege_name" "has_language_privilege_id";
    Tablespace: "has_tablespace_privilege_name_name" "has_tablespace_privilege_name_id"
        "has_tablespace_privilege_id_name" "has_tablespace_privilege_id_id" "has_tablespace_privilege_name"
        "has_tablespace_privilege_id";
}

/// The role of an argument, by name or oid; the current role without one. `public` is nobody: oid 0.
fn role(args: &[Datum], index: Option<usize>, env: &EvalEnv) -> PgResult<Oid> {
    let Some(index) = index else { return Ok(env.user) };
    match args.datum(index) {
        Datum::Text(name) if &**name == "public" => Ok(Oid(0)),
        Datum::Text(name) => match env.catalog.cluster.role_by_name(name) {
            Some(role) => Ok(role.oid),
            None => Err(PgError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))),
        },
        _ => oid(args, index),
    }
}

/// The object of an argument, by name or oid.
fn target(kind: Kind, args: &[Datum], index: usize, env: &EvalEnv) -> PgResult<PrivilegeTarget> {
    let object = match args.datum(index) {
        Datum::Text(name) => by_name(kind, name, env)?,
        _ => oid(args, index)?,
    };
    Ok(match kind {
        Kind::Table => PrivilegeTarget::Table(object),
        Kind::Sequence => PrivilegeTarget::Sequence(object),
        Kind::Schema => PrivilegeTarget::Schema(object),
        Kind::Database => PrivilegeTarget::Database(object),
        Kind::Function => PrivilegeTarget::Function,
        Kind::Type => PrivilegeTarget::Type,
        Kind::Language => PrivilegeTarget::Language,
        Kind::Tablespace => PrivilegeTarget::Tablespace,
    })
}

fn by_name(kind: Kind, name: &str, env: &EvalEnv) -> PgResult<Oid> {
    let missing = |state, what: &str| PgError::new(state, format!("{what} \"{name}\" does not exist"));
    match kind {
        Kind::Table | Kind::Sequence => relation_by_name(name, env),
        Kind::Schema => match env.catalog.schema_by_name(name) {
            Some(schema) => Ok(schema.oid),
            None => Err(missing(SqlState::INVALID_SCHEMA_NAME, "schema")),
        },
        Kind::Database => match env.catalog.cluster.database_by_name(name) {
            Some(database) => Ok(database.oid),
            None => Err(missing(SqlState::INVALID_CATALOG_NAME, "database")),
        },
        Kind::Function => regtypes::lookup(types::REGPROCEDURE, name, env)?
            .ok_or_else(|| missing(SqlState::UNDEFINED_FUNCTION, "function")),
        Kind::Type => regtypes::lookup(types::REGTYPE, name, env)?
            .ok_or_else(|| missing(SqlState::UNDEFINED_OBJECT, "type")),
        Kind::Language if ["internal", "c", "sql", "plpgsql"].contains(&name) => Ok(Oid(0)),
        Kind::Language => Err(missing(SqlState::UNDEFINED_OBJECT, "language")),
        Kind::Tablespace if ["pg_default", "pg_global"].contains(&name) => Ok(Oid(0)),
        Kind::Tablespace => Err(missing(SqlState::UNDEFINED_OBJECT, "tablespace")),
    }
}

fn answer(
    kind: Kind,
    role_at: Option<usize>,
    args: &[Datum],
    object: usize,
    env: &EvalEnv,
) -> PgResult<Datum> {
    let role = role(args, role_at, env)?;
    let target = target(kind, args, object, env)?;
    let privileges = info::parse_privileges(target, args.text(object + 1)?)?;
    Ok(info::has_privileges(&env.catalog, role, target, &privileges).map_or(Datum::Null, Datum::Bool))
}

/// A privilege on a column: that on its table, since there are no grants on columns.
fn column(role_at: Option<usize>, args: &[Datum], table: usize, env: &EvalEnv) -> PgResult<Datum> {
    let role = role(args, role_at, env)?;
    let target = target(Kind::Table, args, table, env)?;
    let privileges = info::parse_privileges(target, args.text(table + 2)?)?;
    if let (PrivilegeTarget::Table(oid), Datum::Text(name)) = (target, args.datum(table + 1))
        && let Some(desc) = env.catalog.table(oid)
        && desc.column_by_name(name).is_none()
    {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", desc.name);
        return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message));
    }
    Ok(info::has_privileges(&env.catalog, role, target, &privileges).map_or(Datum::Null, Datum::Bool))
}

fn has_role(role_at: Option<usize>, args: &[Datum], of: usize, env: &EvalEnv) -> PgResult<Datum> {
    let member = role(args, role_at, env)?;
    let group = role(args, Some(of), env)?;
    for privilege in args.text(of + 1)?.split(',') {
        let name = privilege.trim().to_ascii_uppercase();
        let plain = name.split(" WITH ").next().unwrap_or_default();
        if !["USAGE", "MEMBER", "SET"].contains(&plain) {
            let message = format!("unrecognized privilege type: \"{}\"", privilege.trim());
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }
    Ok(Datum::Bool(info::has_role(&env.catalog, member, group)))
}
