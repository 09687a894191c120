//! Aggregates of the function library inside DataFusion's grouping.
//!
//! [`LibraryAggregate`] hands batches to the library's row accumulators. DISTINCT, ORDER BY and FILTER inside the
//! call are done here, before the accumulator sees a row, so that they mean the same for every aggregate:
//!
//! ```text
//!   arguments of the DataFusion call:  aggregate's arguments .. | sort keys .. | filter
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator as DfAccumulator, AggregateUDFImpl, Signature, Volatility};
use hashbrown::HashSet;
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::{Datum, Oid};

use super::arrays::{ColumnBuilder, arrow_type, value_at};
use super::error::to_df;
use super::slots::Slots;
use crate::func::aggregate::{Accumulator, AggregateFactory, AggregateInfo};

/// What to compute.
pub enum Source {
    /// An aggregate of the library.
    Library(AggregateFactory, AggregateInfo),
    /// Any value of the group: what stands for a group column whose equality is not that of its bytes.
    First,
}

/// See the module's documentation.
pub struct LibraryAggregate {
    id: u64,
    name: String,
    signature: Signature,
    spec: Arc<AggregateSpec>,
}

/// An aggregate call.
pub struct AggregateSpec {
    /// What computes it.
    pub source: Source,
    /// Types of the aggregate's arguments.
    pub args: Vec<Oid>,
    /// DISTINCT.
    pub distinct: bool,
    /// Types and orders of the sort keys.
    pub order: Vec<(Oid, KeyOrder)>,
    /// FILTER: the last argument tells whether a row counts.
    pub filter: bool,
    /// Type of the result.
    pub ret: Oid,
    /// What the statement's expressions need when they run.
    pub slots: Arc<Slots>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl LibraryAggregate {
    /// An aggregate call.
    pub fn new(name: &str, spec: AggregateSpec) -> LibraryAggregate {
        LibraryAggregate {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            signature: Signature::variadic_any(Volatility::Volatile),
            spec: Arc::new(spec),
        }
    }
}

impl fmt::Debug for LibraryAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.id)
    }
}

impl PartialEq for LibraryAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for LibraryAggregate {}

impl Hash for LibraryAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl AggregateUDFImpl for LibraryAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(arrow_type(self.spec.ret))
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> DfResult<Box<dyn DfAccumulator>> {
        let inner = match &self.spec.source {
            Source::Library(factory, info) => Some(factory(info)),
            Source::First => None,
        };
        Ok(Box::new(GroupState {
            spec: self.spec.clone(),
            inner,
            first: None,
            seen: HashSet::new(),
            seen_bytes: 0,
            pending: Vec::new(),
            pending_bytes: 0,
        }))
    }
}

/// The state of one group.
struct GroupState {
    spec: Arc<AggregateSpec>,
    inner: Option<Box<dyn Accumulator>>,
    first: Option<Datum>,
    /// Keys of the rows seen, for DISTINCT.
    seen: HashSet<Vec<u8>>,
    seen_bytes: usize,
    /// Rows waiting to be sorted: sort key, arguments.
    pending: Vec<(Vec<u8>, Vec<Datum>)>,
    pending_bytes: usize,
}

impl fmt::Debug for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupState")
    }
}

impl GroupState {
    fn update_row(&mut self, values: &[ArrayRef], row: usize) -> shardforge_types::PgResult<()> {
        let spec = self.spec.clone();
        let n = spec.args.len();
        if spec.filter {
            let filter = value_at(values[n + spec.order.len()].as_ref(), shardforge_types::oid::BOOL, row)?;
            if filter != Datum::Bool(true) {
                return Ok(());
            }
        }
        let mut args = Vec::with_capacity(n);
        for (i, ty) in spec.args.iter().enumerate() {
            args.push(value_at(values[i].as_ref(), *ty, row)?);
        }
        if spec.distinct {
            let mut key = Vec::new();
            for (ty, value) in spec.args.iter().zip(&args) {
                key::encode(*ty, KeyOrder::ASC, value, &mut key);
            }
            if spec.order.is_empty() {
                // PostgreSQL sorts to find duplicates: the aggregate sees its input in that order.
                let size = key.len() + 48;
                if self.seen.insert(key.clone()) {
                    self.seen_bytes += size;
                    self.pending_bytes += size + 24 * args.len();
                    self.pending.push((key, args));
                }
                return Ok(());
            }
            let size = key.len() + 48;
            if !self.seen.insert(key) {
                return Ok(());
            }
            self.seen_bytes += size;
        }
        if !spec.order.is_empty() {
            let mut key = Vec::new();
            for (i, (ty, order)) in spec.order.iter().enumerate() {
                key::encode(*ty, *order, &value_at(values[n + i].as_ref(), *ty, row)?, &mut key);
            }
            self.pending_bytes += key.len() + 48 + 24 * args.len();
            self.pending.push((key, args));
            return Ok(());
        }
        self.feed(args)
    }

    fn feed(&mut self, mut args: Vec<Datum>) -> shardforge_types::PgResult<()> {
        match &mut self.inner {
            Some(inner) => {
                let cx = self.spec.slots.get()?;
                inner.update(&args, &cx.env)
            }
            None => {
                if self.first.is_none() {
                    self.first = args.pop();
                }
                Ok(())
            }
        }
    }

    fn result(&mut self) -> shardforge_types::PgResult<ScalarValue> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (_, args) in pending {
            self.feed(args)?;
        }
        let value = match &mut self.inner {
            Some(inner) => {
                let cx = self.spec.slots.get()?;
                inner.finish(&cx.env)?
            }
            None => self.first.take().unwrap_or(Datum::Null),
        };
        let mut builder = ColumnBuilder::new(self.spec.ret);
        builder.push(&value)?;
        ScalarValue::try_from_array(&builder.finish(), 0).map_err(super::error::from_df)
    }
}

impl DfAccumulator for GroupState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let rows = values.first().map_or(0, |array| array.len());
        for row in 0..rows {
            self.update_row(values, row).map_err(to_df)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.result().map_err(to_df)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.seen_bytes
            + self.pending_bytes
            + self.inner.as_ref().map_or(0, |inner| inner.size())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(DataFusionError::ResourcesExhausted(
            "the groups of this query do not fit, and their aggregates cannot spill".to_owned(),
        ))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> DfResult<()> {
        Err(DataFusionError::Internal("aggregates of the library are computed in one stage".to_owned()))
    }
}
