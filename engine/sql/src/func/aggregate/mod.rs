//! Aggregates: accumulators by the name of the aggregate.
//!
//! An [`Accumulator`] takes the argument values row by row and can answer at any moment, which is what a running
//! window needs: `finish` does not end it.

mod basic;

use shardforge_types::{Datum, Oid, PgResult};
use smallvec::SmallVec;

use crate::catalog::builtin::ProcDesc;
use crate::exec::env::EvalEnv;
use crate::ir::Ty;

/// What an accumulator may know of the call that it serves.
#[derive(Clone, Debug)]
pub struct AggregateInfo {
    /// The aggregate in `pg_proc`.
    pub func: Oid,
    /// The arguments' types; of an ordered-set aggregate the direct ones, then the aggregated ones.
    pub arg_types: SmallVec<[Ty; 4]>,
    /// The type of the result.
    pub ret: Ty,
    /// How many of the arguments are direct ones.
    pub direct_args: usize,
}

/// Aggregates the rows of one group.
///
/// Each update gets the values of all arguments (for an ordered-set aggregate the direct ones, then the aggregated
/// ones, in the order of WITHIN GROUP). NULLs are passed on; the accumulator leaves out what it has to.
pub trait Accumulator: Send {
    /// Takes one row.
    fn update(&mut self, args: &[Datum], env: &EvalEnv) -> PgResult<()>;

    /// The result over the rows so far.
    fn finish(&mut self, env: &EvalEnv) -> PgResult<Datum>;

    /// Bytes held, for the memory limit.
    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Makes the accumulator of one group.
pub type AggregateFactory = fn(&AggregateInfo) -> Box<dyn Accumulator>;

/// The factory of an aggregate, if it runs here.
pub(super) fn factory(proc: &ProcDesc) -> Option<AggregateFactory> {
    basic::FACTORIES.iter().find(|(name, _)| *name == proc.name).map(|(_, factory)| *factory)
}
