//! Scalar expressions, compiled once and evaluated row by row.
//!
//! [`CompiledExpr`] is the tree of an [`crate::ir::Scalar`] with everything decided: columns are positions, functions
//! are pointers, constant parts are values. Evaluation walks the tree. Arguments of a call live on the stack, and a
//! call of a strict function on two columns costs the two reads, two comparisons with NULL and one indirect call.
//!
//! ```text
//!   ir::Scalar --compile--> Node (compile.rs folds constants) --eval--> Datum
//! ```
//!
//! Folding: a part without columns and parameters is computed at compile time if all it calls is immutable. If that
//! fails (`1/0`), the part stays as it is and fails when, and only if, it is evaluated, as `CASE` demands.
//!
//! Subqueries are replaced before an expression comes here.

mod arrays;
mod compile;
mod lists;
mod run;
#[cfg(test)]
mod tests;

use shardforge_types::{Datum, PgResult};

use crate::exec::env::EvalEnv;
use crate::ir::{ColId, Scalar};

use run::{Node, Scope};

/// Where an expression reads its columns.
pub trait RowSource {
    /// The value of a column, by the position that the expression was compiled with.
    fn column(&self, index: usize) -> PgResult<Datum>;
}

impl RowSource for [Datum] {
    fn column(&self, index: usize) -> PgResult<Datum> {
        self.get(index)
            .cloned()
            .ok_or_else(|| shardforge_types::PgError::internal(format!("row has no column {index}")))
    }
}

impl RowSource for &[Datum] {
    fn column(&self, index: usize) -> PgResult<Datum> {
        (**self).column(index)
    }
}

impl RowSource for Vec<Datum> {
    fn column(&self, index: usize) -> PgResult<Datum> {
        self.as_slice().column(index)
    }
}

/// A row without columns.
pub struct NoRow;

impl RowSource for NoRow {
    fn column(&self, index: usize) -> PgResult<Datum> {
        Err(shardforge_types::PgError::internal(format!("column {index} of an expression without input")))
    }
}

/// An expression ready to run. Immutable and shareable.
#[derive(Debug)]
pub struct CompiledExpr {
    root: Node,
}

impl CompiledExpr {
    /// Compiles an expression. `resolve` gives the position of a column in the rows that it will be evaluated on.
    ///
    /// Fails with 0A000 if it calls a function that does not run here.
    pub fn compile(scalar: &Scalar, resolve: &dyn Fn(ColId) -> Option<usize>) -> PgResult<CompiledExpr> {
        Ok(CompiledExpr { root: compile::compile(scalar, resolve)? })
    }

    /// The value for one row.
    #[inline]
    pub fn eval(&self, row: &dyn RowSource, params: &[Datum], env: &EvalEnv) -> PgResult<Datum> {
        self.root.eval(&Scope { row, params, env, element: None })
    }

    /// Whether the value, a boolean, is true: what WHERE asks.
    #[inline]
    pub fn is_true(&self, row: &dyn RowSource, params: &[Datum], env: &EvalEnv) -> PgResult<bool> {
        Ok(matches!(self.eval(row, params, env)?, Datum::Bool(true)))
    }

    /// The value, if it is the same for every row, parameter and session.
    pub fn as_const(&self) -> Option<&Datum> {
        match &self.root {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    /// The position, if the expression is nothing but a column.
    pub fn as_column(&self) -> Option<usize> {
        match &self.root {
            Node::Column(index) => Some(*index),
            _ => None,
        }
    }
}
