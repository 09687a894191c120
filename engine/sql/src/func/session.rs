//! What a session can ask about itself and the server: the clock, names, settings, versions.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::args::Args;
use super::registry::KernelTable;
use super::typename;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("now", |_, _, env| Ok(Datum::Timestamptz(env.transaction_timestamp))),
    ("statement_timestamp", |_, _, env| Ok(Datum::Timestamptz(env.statement_timestamp))),
    ("clock_timestamp", |_, _, env| Ok(Datum::Timestamptz(env.session.host.clock_micros()))),
    ("pg_postmaster_start_time", |_, _, env| Ok(Datum::Timestamptz(env.session.host.start_micros()))),
    ("pg_conf_load_time", |_, _, env| Ok(Datum::Timestamptz(env.session.host.start_micros()))),
    ("pgsql_version", |_, _, env| Ok(Datum::text(version(env)))),
    ("current_user", |_, _, env| Ok(Datum::text(env.role_name(env.user)))),
    ("session_user", |_, _, env| Ok(Datum::text(env.role_name(env.session.session_user)))),
    ("current_database", current_database),
    ("current_schema", current_schema),
    ("pg_backend_pid", |_, _, env| Ok(Datum::Int4(env.session.backend_pid))),
    ("pg_typeof", |_, info, _| Ok(Datum::Oid(info.arg(0).0))),
    ("show_config_by_name", |a, _, env| setting(a.text(0)?, false, env)),
    ("show_config_by_name_missing_ok", |a, _, env| setting(a.text(0)?, a.bool(1)?, env)),
    ("set_config_by_name", set_config),
    ("format_type", format_type),
    ("pg_is_in_recovery", |_, _, _| Ok(Datum::Bool(false))),
    ("pg_my_temp_schema", |_, _, env| Ok(Datum::Oid(env.session.temp_schema.unwrap_or(Oid(0)).0))),
    ("getdatabaseencoding", |_, _, _| Ok(Datum::text("UTF8"))),
    ("pg_client_encoding", |_, _, _| Ok(Datum::text("UTF8"))),
    ("inet_client_port", |_, _, env| Ok(port(env.session.client.as_ref()))),
    ("inet_server_port", |_, _, env| Ok(port(env.session.server.as_ref()))),
];

fn port(end: Option<&(String, u16)>) -> Datum {
    end.map_or(Datum::Null, |(_, port)| Datum::Int4(i32::from(*port)))
}

/// What `version()` answers. Clients parse the number after "PostgreSQL".
fn version(env: &EvalEnv) -> String {
    let number = env.session.settings.get("server_version").unwrap_or_else(|| "18.0".to_owned());
    let number = number.split_whitespace().next().unwrap_or("18.0").to_owned();
    format!(
        "PostgreSQL {number} (ShardForge {}) on {}-{}, 64-bit",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

fn current_database(_: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let database = env.catalog.cluster.databases.get(&env.catalog.database);
    Ok(database.map_or(Datum::Null, |database| Datum::text(database.name.as_str())))
}

/// The first schema of the search path that exists: where CREATE TABLE puts things.
fn current_schema(_: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    match super::names::current_schemas(&[Datum::Bool(false)], info, env)? {
        Datum::Array(schemas) => Ok(schemas.elements.first().cloned().unwrap_or(Datum::Null)),
        _ => Ok(Datum::Null),
    }
}

fn setting(name: &str, missing_ok: bool, env: &EvalEnv) -> PgResult<Datum> {
    match env.setting(name) {
        Some(value) => Ok(Datum::text(value)),
        None if missing_ok => Ok(Datum::Null),
        None => Err(PgError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn set_config(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    if args.datum(0).is_null() {
        return Err(PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
    }
    let value = if args.datum(1).is_null() { "" } else { args.text(1)? };
    let local = args.datum(2).as_bool().unwrap_or(false);
    let name = args.text(0)?;
    if let Some(now) = env.transaction_setting(name) {
        return set_of_transaction(name, value, now);
    }
    env.session.settings.set(name, value, local).map(Datum::text)
}

/// `set_config` of a setting that is the transaction's: the statement that calls it has fixed it already.
fn set_of_transaction(name: &str, value: &str, now: String) -> PgResult<Datum> {
    if value.eq_ignore_ascii_case(&now) {
        return Ok(Datum::text(now));
    }
    let message = match &*name.to_ascii_lowercase() {
        "transaction_isolation" => "SET TRANSACTION ISOLATION LEVEL must be called before any query",
        "transaction_deferrable" => "SET TRANSACTION [NOT] DEFERRABLE must be called before any query",
        _ if now == "on" => "transaction read-write mode must be set before any query",
        _ => {
            return Err(PgError::not_supported("set_config cannot make a transaction read only yet")
                .hint("SET TRANSACTION READ ONLY does."));
        }
    };
    Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message))
}

fn format_type(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let Datum::Oid(ty) = args.datum(0) else { return Ok(Datum::Null) };
    let typmod = match args.datum(1) {
        Datum::Int4(typmod) => Some(*typmod),
        _ => None,
    };
    Ok(Datum::text(typename::format(Oid(*ty), typmod, env)))
}
