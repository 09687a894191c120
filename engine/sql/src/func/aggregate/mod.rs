//! Aggregates: accumulators by the name and the argument types of the aggregate.
//!
//! An [`Accumulator`] takes the argument values row by row and can answer at any moment, which is what a running
//! window needs: `finish` does not end it. DISTINCT, ORDER BY and FILTER are the caller's business.
//!
//! * [`basic`]: count, min, max, any_value, and the boolean and bitwise ones.
//! * [`sum`]: sum and avg.
//! * [`statistics`]: variance, standard deviation, covariance, regression.
//! * [`collect`]: array_agg, string_agg, and the JSON ones.
//! * [`ordered`]: percentiles, mode, hypothetical ranks.

mod basic;
mod collect;
mod ordered;
mod statistics;
mod sum;

use shardforge_types::{Datum, Oid, PgResult};
use smallvec::SmallVec;

use crate::catalog::builtin::ProcDesc;
use crate::exec::env::EvalEnv;
use crate::ir::Ty;

pub use collect::array_of;

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
    /// For ordered-set aggregates, (DESC, NULLS FIRST) of each sort key.
    pub order: SmallVec<[(bool, bool); 2]>,
}

impl AggregateInfo {
    /// The type of an argument; `unknown` past the last one.
    pub(super) fn arg(&self, index: usize) -> Oid {
        self.arg_types.get(index).map_or(shardforge_types::oid::UNKNOWN, |ty| ty.oid)
    }
}

/// Aggregates the rows of one group.
///
/// Each update gets the values of all arguments (for an ordered-set aggregate the direct ones, then the aggregated
/// ones, in the order of WITHIN GROUP). NULLs are passed on; the accumulator leaves out what it has to.
pub trait Accumulator: Send + Sync {
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
    let families = [basic::factory, sum::factory, statistics::factory, collect::factory, ordered::factory];
    families.iter().find_map(|family| family(proc.name, &proc.args))
}

/// Roughly the bytes that a value holds beyond its own size.
pub fn heap_size(value: &Datum) -> usize {
    match value {
        Datum::Text(text) => text.len() + 16,
        Datum::Bytea(bytes) => bytes.len() + 16,
        Datum::Array(array) => {
            array.elements.iter().map(|e| size_of::<Datum>() + heap_size(e)).sum::<usize>() + 64
        }
        Datum::Record(record) => {
            record.fields.iter().map(|f| size_of::<Datum>() + heap_size(f)).sum::<usize>() + 64
        }
        Datum::Numeric(shardforge_types::Numeric::Big(_)) => 64,
        Datum::Interval(_) => 32,
        _ => 0,
    }
}
