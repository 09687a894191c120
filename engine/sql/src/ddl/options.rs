//! Storage parameters of tables and indexes: WITH (...), SET (...) and RESET (...).
//!
//! PostgreSQL's own are kept and shown, and change nothing. `buckets` is ours: over how many hash buckets the keys are
//! spread ([`crate::storage::KeyHead`]). It is said when a table or an index is made, or taken from `default_buckets`,
//! and stays.

use shardforge_types::{PgError, PgResult, SqlState};

use super::create_table::arg_text;
use crate::catalog::{Buckets, IndexDesc, TableDesc};
use crate::parse::ast::DefElem;
use crate::session::PgSession;

/// Storage parameters: names and values, as written.
pub type Options = Vec<(String, String)>;

const BUCKETS: &str = "buckets";

/// Those that tables have, `autovacuum_...` and `buckets` aside.
const OF_TABLES: [&str; 8] = [
    "fillfactor",
    "toast_tuple_target",
    "parallel_workers",
    "user_catalog_table",
    "log_autovacuum_min_duration",
    "vacuum_index_cleanup",
    "vacuum_truncate",
    "vacuum_max_eager_freeze_failure_rate",
];

/// Those that btree indexes have.
const OF_INDEXES: [&str; 3] = ["fillfactor", "deduplicate_items", BUCKETS];

/// The storage parameters of a table.
///
/// # Errors
/// 22023 for one that there is not, 0A000 for `oids`.
pub fn of_table(options: &[DefElem]) -> PgResult<Options> {
    let mut kept = Vec::with_capacity(options.len());
    for option in options {
        let (name, value) = text(option);
        let plain = name.strip_prefix("toast.").unwrap_or(&name);
        if name == "oids" {
            if !matches!(value.as_str(), "false" | "off" | "0") {
                return Err(PgError::not_supported("tables declared WITH OIDS are not supported"));
            }
        } else if name == BUCKETS || OF_TABLES.contains(&plain) || plain.starts_with("autovacuum_") {
            kept.push((name, value));
        } else if option.namespace.is_some() && plain == name {
            let message =
                format!("unrecognized parameter namespace \"{}\"", name.split('.').next().unwrap_or(""));
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        } else {
            return Err(unrecognized(plain));
        }
    }
    Ok(kept)
}

/// The storage parameters of an index.
///
/// # Errors
/// 22023 for one that there is not.
pub fn of_index(options: &[DefElem]) -> PgResult<Options> {
    let option = |option| {
        let (name, value) = text(option);
        if OF_INDEXES.contains(&name.as_str()) { Ok((name, value)) } else { Err(unrecognized(&name)) }
    };
    options.iter().map(option).collect()
}

/// SET of some: they take the places of those of before.
///
/// # Errors
/// 0A000 for `buckets`.
pub fn set(options: &mut Options, new: Options) -> PgResult<()> {
    for (name, value) in new {
        remove(options, &name)?;
        options.push((name, value));
    }
    Ok(())
}

/// RESET of some.
///
/// # Errors
/// As [`set`].
pub fn reset(options: &mut Options, names: &[DefElem]) -> PgResult<()> {
    names.iter().try_for_each(|option| remove(options, &text(option).0))
}

fn remove(options: &mut Options, name: &str) -> PgResult<()> {
    if name == BUCKETS {
        return Err(PgError::not_supported("the number of buckets cannot be changed")
            .hint("Make a new table, or index, WITH (buckets = ...)."));
    }
    options.retain(|(other, _)| other != name);
    Ok(())
}

/// The buckets of what is being made: those that its parameters say, or else the session's default.
///
/// # Errors
/// 22023 for what is no number, or none that there can be.
pub fn buckets(session: &PgSession, options: &Options) -> PgResult<Buckets> {
    Ok(said(options)?.unwrap_or_else(|| session.settings.parsed(|parsed| parsed.default_buckets)))
}

/// A table is stored by its primary key: what is said of the one's buckets holds for the other.
///
/// # Errors
/// 22023 if they say different numbers.
pub fn share_buckets(table: &mut TableDesc) -> PgResult<()> {
    let Some(IndexDesc { options, name, .. }) = table.indexes.first() else { return Ok(()) };
    if let Some(of_key) = said(options)? {
        if said(&table.options)?.is_some_and(|of_table| of_table != of_key) {
            let message = format!(
                "table \"{}\" and its primary key \"{name}\" have different numbers of buckets",
                table.name
            );
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("The rows are stored by the primary key. Give the number once."));
        }
        table.buckets = of_key;
    }
    table.indexes[0].buckets = table.buckets;
    Ok(())
}

fn said(options: &Options) -> PgResult<Option<Buckets>> {
    let Some((_, value)) = options.iter().rfind(|(name, _)| name == BUCKETS) else { return Ok(None) };
    let invalid = |message: String| PgError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let number: i64 = value
        .trim()
        .parse()
        .map_err(|_| invalid(format!("invalid value for integer option \"{BUCKETS}\": {value}")))?;
    let buckets = u16::try_from(number).ok().and_then(Buckets::new).ok_or_else(|| {
        invalid(format!("value {value} out of bounds for option \"{BUCKETS}\""))
            .detail(format!("Valid values are between \"1\" and \"{}\".", Buckets::MAX))
    })?;
    Ok(Some(buckets))
}

/// A storage parameter as `name`, `value`.
fn text(option: &DefElem) -> (String, String) {
    let name = match &option.namespace {
        Some(namespace) => format!("{namespace}.{}", option.name),
        None => option.name.to_string(),
    };
    (name, option.arg.as_ref().map_or_else(|| "true".to_owned(), arg_text))
}

fn unrecognized(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized parameter \"{name}\""))
}
