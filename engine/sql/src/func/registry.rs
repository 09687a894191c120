//! Finds kernels by function oid.
//!
//! Built once, at first use: each row of `pg_proc` whose C function is in one of the tables of kernels becomes a
//! [`ScalarFunction`] or a [`TableFunction`]. Functions that PostgreSQL writes in SQL have no C function; theirs are
//! listed by oid.

use std::sync::LazyLock;

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::aggregate::{self, AggregateFactory};
use super::{
    Kernel, ScalarFunction, TableFunction, TableKernel, activity, array, boolean, bytes, compare, datetime,
    float, format, hash, int, misc, names, numeric, pattern, regex, series, session, sysinfo, text,
    transactions,
};
use crate::catalog::builtin::{ProcDesc, ProcKind, builtin};

/// Kernels by the name of PostgreSQL's C function (`pg_proc.prosrc`).
pub(super) type KernelTable = &'static [(&'static str, Kernel)];

/// Kernels of functions that PostgreSQL defines in SQL, by oid; the name is for the reader and checked by a test.
pub(super) type SqlKernelTable = &'static [(u32, &'static str, Kernel)];

/// Set-returning kernels by the name of PostgreSQL's C function.
pub(super) type TableKernelTable = &'static [(&'static str, TableKernel)];

const SCALARS: &[KernelTable] = &[
    activity::KERNELS,
    array::KERNELS,
    boolean::KERNELS,
    bytes::KERNELS,
    datetime::KERNELS,
    float::KERNELS,
    format::KERNELS,
    hash::KERNELS,
    int::KERNELS,
    misc::KERNELS,
    names::KERNELS,
    numeric::KERNELS,
    pattern::KERNELS,
    regex::KERNELS,
    session::KERNELS,
    text::KERNELS,
    transactions::KERNELS,
];

const SQL_SCALARS: &[SqlKernelTable] = &[
    bytes::SQL_KERNELS,
    datetime::SQL_KERNELS,
    datetime::SQL_COMPARISONS,
    numeric::SQL_KERNELS,
    regex::SQL_KERNELS,
    text::SQL_KERNELS,
];

const TABLES: &[TableKernelTable] =
    &[array::TABLES, datetime::TABLES, regex::TABLES, series::TABLES, sysinfo::SETS, transactions::TABLES];

struct Registry {
    scalars: HashMap<Oid, ScalarFunction>,
    tables: HashMap<Oid, TableFunction>,
    aggregates: HashMap<Oid, AggregateFactory>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::build);

/// The language oid of functions written in C inside the server.
const INTERNAL_LANGUAGE: Oid = Oid(12);

impl Registry {
    fn build() -> Registry {
        let kernels: HashMap<&str, Kernel> = SCALARS
            .iter()
            .chain(compare::TABLES)
            .chain(datetime::COMPARISONS)
            .chain(sysinfo::TABLES)
            .flat_map(|table| table.iter().copied())
            .collect();
        let sql_kernels: HashMap<Oid, Kernel> = SQL_SCALARS
            .iter()
            .chain(sysinfo::SQL_KERNELS)
            .flat_map(|table| table.iter().map(|(oid, _, kernel)| (Oid(*oid), *kernel)))
            .collect();
        let table_kernels: HashMap<&str, TableKernel> =
            TABLES.iter().flat_map(|table| table.iter().copied()).collect();

        let mut registry =
            Registry { scalars: HashMap::new(), tables: HashMap::new(), aggregates: HashMap::new() };
        for proc in builtin().procs() {
            match proc.kind {
                ProcKind::Aggregate => {
                    if let Some(factory) = aggregate::factory(proc) {
                        registry.aggregates.insert(proc.oid, factory);
                    }
                }
                ProcKind::Function if proc.retset => {
                    if let Some(kernel) = table_kernels.get(proc.src.as_ref()) {
                        registry.tables.insert(proc.oid, table_function(proc, *kernel));
                    }
                }
                ProcKind::Function => {
                    let kernel = if proc.lang == INTERNAL_LANGUAGE {
                        kernels.get(proc.src.as_ref())
                    } else {
                        sql_kernels.get(&proc.oid)
                    };
                    if let Some(kernel) = kernel {
                        registry.scalars.insert(proc.oid, scalar_function(proc, *kernel));
                    }
                }
                ProcKind::Procedure | ProcKind::Window => {}
            }
        }
        registry
    }
}

fn scalar_function(proc: &ProcDesc, kernel: Kernel) -> ScalarFunction {
    ScalarFunction {
        oid: proc.oid,
        name: proc.name,
        strict: proc.strict,
        volatility: proc.volatility,
        kernel,
    }
}

fn table_function(proc: &ProcDesc, kernel: TableKernel) -> TableFunction {
    TableFunction { oid: proc.oid, name: proc.name, strict: proc.strict, volatility: proc.volatility, kernel }
}

/// The function of an oid, if it runs here.
pub fn scalar(oid: Oid) -> Option<&'static ScalarFunction> {
    REGISTRY.scalars.get(&oid)
}

/// The set-returning function of an oid, if it runs here.
pub fn table(oid: Oid) -> Option<&'static TableFunction> {
    REGISTRY.tables.get(&oid)
}

/// The aggregate of an oid, if it runs here.
pub fn aggregate(oid: Oid) -> Option<AggregateFactory> {
    REGISTRY.aggregates.get(&oid).copied()
}

/// How many functions of `pg_proc` run here: scalar ones, set-returning ones, aggregates.
pub fn coverage() -> (usize, usize, usize) {
    (REGISTRY.scalars.len(), REGISTRY.tables.len(), REGISTRY.aggregates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name in a table of kernels is a C function of PostgreSQL, and none is there twice.
    #[test]
    fn kernels_have_postgresql_names() {
        let sources: std::collections::HashSet<&str> =
            builtin().procs().iter().map(|p| p.src.as_ref()).collect();
        let mut seen = std::collections::HashSet::new();
        let scalars = SCALARS
            .iter()
            .chain(compare::TABLES)
            .chain(datetime::COMPARISONS)
            .chain(sysinfo::TABLES)
            .flat_map(|t| t.iter().map(|(name, _)| *name));
        let tables = TABLES.iter().flat_map(|t| t.iter().map(|(name, _)| *name));
        let mut wrong = Vec::new();
        for name in scalars.chain(tables) {
            if !sources.contains(name) || !seen.insert(name) {
                wrong.push(name);
            }
        }
        assert!(wrong.is_empty(), "unknown or repeated: {wrong:?}");
    }

    #[test]
    fn sql_functions_have_the_oid_of_their_name() {
        for (oid, signature, _) in SQL_SCALARS.iter().flat_map(|table| table.iter()) {
            let proc = builtin().proc_by_oid(Oid(*oid)).unwrap_or_else(|| panic!("no function {oid}"));
            let name = signature.split('(').next();
            assert_eq!(Some(proc.name), name, "{oid}");
        }
    }

    #[test]
    fn coverage_does_not_shrink() {
        let (scalars, tables, aggregates) = coverage();
        println!("{scalars} scalar functions, {tables} set-returning ones, {aggregates} aggregates");
        assert!(scalars >= 200);
    }
}
