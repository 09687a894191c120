//! The function library: everything that `pg_proc` names and that runs here.
//!
//! A function is written once, as a row kernel over [`Datum`]s; the row evaluator, DataFusion's plans and the catalog
//! all find it by its oid. PostgreSQL's `pg_proc.prosrc` names the C function behind each row (`int4pl`,
//! `textlen`), and several rows may share one. The tables of kernels here are keyed by the same names, so one line
//! serves `length(text)`, `char_length(text)` and `character_length(text)`, and the types, strictness and volatility
//! come from the catalog's data instead of being repeated.
//!
//! ```text
//!   pg_proc row --prosrc--> KERNELS of int, text, datetime, ...   [scalar], one value
//!               --prosrc--> TABLES of series, array, ...          [table], rows
//!               --proname--> aggregate::AGGREGATES                [aggregate], an accumulator
//! ```
//!
//! Invariants
//! * A kernel gets arguments of the types that its `pg_proc` row declares (polymorphic ones as [`CallInfo`] says);
//!   a strict one never sees NULL. Whoever calls it sees to that; a mismatch is an internal error, not a panic.
//! * A kernel reads the world through [`EvalEnv`] only.
//! * An immutable function's kernel does not look at the environment.

mod activity;
pub mod aggregate;
mod args;
mod array;
mod boolean;
mod bytes;
mod compare;
mod datetime;
mod float;
mod format;
mod hash;
pub mod ident;
mod int;
mod misc;
mod names;
mod numeric;
mod pattern;
pub mod random;
mod regex;
mod registry;
mod regtypes;
mod series;
mod session;
mod sysinfo;
#[cfg(test)]
mod tests;
mod text;
mod textio;
mod transactions;
mod typename;

use shardforge_types::{Datum, Oid, PgError, PgResult, oid};
use smallvec::SmallVec;

use crate::catalog::builtin::{Volatility, builtin};
use crate::exec::env::EvalEnv;
use crate::ir::Ty;

pub use aggregate::array_of;
pub use registry::{aggregate, coverage, scalar, table};
pub use text::quote_literal;
pub(crate) use textio::to_text;
pub use textio::{input, output, text_needs_catalog};

/// Computes one value.
pub type Kernel = fn(&[Datum], &CallInfo, &EvalEnv) -> PgResult<Datum>;

/// Computes a set of rows.
pub type TableKernel = fn(&[Datum], &CallInfo, &EvalEnv) -> PgResult<TableRows>;

/// One row of a set: a value for each output column.
pub type TableRow = SmallVec<[Datum; 1]>;

/// The rows of a set, made one by one.
pub type TableRows = Box<dyn Iterator<Item = PgResult<TableRow>> + Send>;

/// What a kernel may know of the call that it serves.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// The function in `pg_proc`.
    pub func: Oid,
    /// The arguments' types as called.
    pub arg_types: SmallVec<[Ty; 4]>,
    /// The type of the result.
    pub ret: Ty,
    /// For VARIADIC "any" functions: the call was written with VARIADIC.
    pub variadic: bool,
}

impl CallInfo {
    /// The type of an argument; `unknown` past the last one.
    pub fn arg(&self, index: usize) -> Oid {
        self.arg_types.get(index).map_or(oid::UNKNOWN, |ty| ty.oid)
    }
}

/// A function that yields one value.
pub struct ScalarFunction {
    /// Its oid.
    pub oid: Oid,
    /// Its name, for messages.
    pub name: &'static str,
    /// A NULL argument makes the result NULL without a call.
    pub strict: bool,
    /// What may be assumed of the result.
    pub volatility: Volatility,
    /// Computes it.
    pub kernel: Kernel,
}

/// A function that yields a set of rows.
pub struct TableFunction {
    /// Its oid.
    pub oid: Oid,
    /// Its name, for messages and as the default column name.
    pub name: &'static str,
    /// A NULL argument makes the set empty without a call.
    pub strict: bool,
    /// What may be assumed of the result.
    pub volatility: Volatility,
    /// Computes it.
    pub kernel: TableKernel,
}

impl ScalarFunction {
    /// Calls the kernel, unless it is strict and an argument is NULL.
    pub fn call(&self, args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        (self.kernel)(args, info, env)
    }
}

impl TableFunction {
    /// Calls the kernel, unless it is strict and an argument is NULL.
    pub fn call(&self, args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<TableRows> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Box::new(std::iter::empty()));
        }
        (self.kernel)(args, info, env)
    }
}

/// The rows of a function in FROM or in a select list: those of a set-returning one, or the one row of any other, whose
/// composite result is spread over `columns` columns if there are several.
pub fn rows(
    func: Oid,
    args: &[Datum],
    info: &CallInfo,
    columns: usize,
    env: &EvalEnv,
) -> PgResult<TableRows> {
    if let Some(function) = table(func) {
        return function.call(args, info, env);
    }
    let function = scalar(func).ok_or_else(|| not_supported(func))?;
    let row: TableRow = match function.call(args, info, env)? {
        Datum::Record(record) if columns > 1 => record.fields.iter().cloned().collect(),
        Datum::Null => smallvec::smallvec![Datum::Null; columns],
        value => smallvec::smallvec![value],
    };
    Ok(Box::new(std::iter::once(Ok(row))))
}

/// 0A000 for a function that PostgreSQL has and that does not run here.
#[cold]
pub fn not_supported(func: Oid) -> PgError {
    let Some(proc) = builtin().proc_by_oid(func) else {
        return PgError::internal(format!("there is no function {func}"));
    };
    let args: Vec<String> = proc.args.iter().map(|ty| shardforge_types::type_name(*ty)).collect();
    PgError::not_supported(format!("function {}({}) is not supported yet", proc.name, args.join(", ")))
        .hint("PostgreSQL has this function; ShardForge does not run it at this stage.")
}
