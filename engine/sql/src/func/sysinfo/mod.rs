//! What the catalog functions answer: definitions, comments, visibility, privileges, sizes.
//!
//! psql, drivers and ORMs wrap their catalog queries in these. The answers are made by [`crate::catalog::info`], which
//! knows nothing of sessions; the kernels here add the search path and the role, and read the arguments.

mod definitions;
mod objects;
mod privileges;
mod sets;
mod visibility;

use super::registry::{KernelTable, SqlKernelTable, TableKernelTable};

/// The kernels by subject.
pub(super) const TABLES: &[KernelTable] =
    &[definitions::KERNELS, objects::KERNELS, privileges::KERNELS, visibility::KERNELS];

/// Those of functions that PostgreSQL writes in SQL.
pub(super) const SQL_KERNELS: &[SqlKernelTable] = &[definitions::SQL_KERNELS, objects::SQL_KERNELS];

/// Those that return sets.
pub(super) const SETS: TableKernelTable = sets::KERNELS;

#[cfg(test)]
mod tests;
