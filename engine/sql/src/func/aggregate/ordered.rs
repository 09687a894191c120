//! Ordered-set and hypothetical-set aggregates: percentiles, mode, rank and its kin.
//!
//! The values come in the order of WITHIN GROUP, so a percentile is a matter of positions.

use std::cmp::Ordering;
use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, Oid, PgError, PgResult, SqlState, compare, oid};
use smallvec::SmallVec;

use super::{Accumulator, AggregateFactory, AggregateInfo, heap_size};
use crate::exec::env::EvalEnv;

/// The factories of this family.
pub(super) fn factory(name: &str, args: &[Oid]) -> Option<AggregateFactory> {
    Some(match (name, args) {
        ("percentile_disc", _) => |info| Box::new(Percentile::new(info, discrete)),
        ("percentile_cont", [_, oid::FLOAT8 | oid::INTERVAL]) => {
            |info| Box::new(Percentile::new(info, continuous))
        }
        ("mode", _) => |info| Box::new(Mode::new(info)),
        ("rank", _) => |info| Box::new(Hypothetical::new(info, |h| Datum::Int8(h.before + 1))),
        ("dense_rank", _) => |info| Box::new(Hypothetical::new(info, |h| Datum::Int8(h.distinct_before + 1))),
        ("percent_rank", _) => |info| {
            Box::new(Hypothetical::new(info, |h| {
                Datum::Float8(if h.rows == 0 { 0.0 } else { h.before as f64 / h.rows as f64 })
            }))
        },
        ("cume_dist", _) => |info| {
            Box::new(Hypothetical::new(info, |h| {
                Datum::Float8((h.before + h.peers + 1) as f64 / (h.rows + 1) as f64)
            }))
        },
        _ => return None,
    })
}

/// Finds the value at a fraction of sorted values.
type Pick = fn(&[Datum], f64) -> PgResult<Datum>;

/// percentile_disc and percentile_cont, of one fraction or of an array of them.
struct Percentile {
    pick: Pick,
    elem: Oid,
    fraction: Datum,
    values: Vec<Datum>,
    heap: usize,
}

impl Percentile {
    fn new(info: &AggregateInfo, pick: Pick) -> Percentile {
        Percentile { pick, elem: info.arg(1), fraction: Datum::Null, values: Vec::new(), heap: 0 }
    }
}

impl Accumulator for Percentile {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let [fraction, value] = args else { return Ok(()) };
        if self.values.is_empty() {
            self.fraction = fraction.clone();
        }
        if !value.is_null() {
            self.heap += heap_size(value);
            self.values.push(value.clone());
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        match &self.fraction {
            Datum::Float8(fraction) => {
                check_fraction(*fraction)?;
                if self.values.is_empty() { Ok(Datum::Null) } else { (self.pick)(&self.values, *fraction) }
            }
            Datum::Array(fractions) => {
                if self.values.is_empty() {
                    return Ok(Datum::Null);
                }
                let mut elements = Vec::with_capacity(fractions.elements.len());
                for fraction in &fractions.elements {
                    elements.push(match fraction {
                        Datum::Float8(fraction) => {
                            check_fraction(*fraction)?;
                            (self.pick)(&self.values, *fraction)?
                        }
                        _ => Datum::Null,
                    });
                }
                let dims = fractions.dims.clone();
                Ok(Datum::Array(Arc::new(ArrayValue { elem: self.elem, dims, elements })))
            }
            _ => Ok(Datum::Null),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<Datum>() + self.heap
    }
}

fn check_fraction(fraction: f64) -> PgResult<()> {
    if (0.0..=1.0).contains(&fraction) {
        return Ok(());
    }
    let message = format!("percentile value {fraction} is not between 0 and 1");
    Err(PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message))
}

/// The first value whose position reaches the fraction.
fn discrete(values: &[Datum], fraction: f64) -> PgResult<Datum> {
    let row = (fraction * values.len() as f64).ceil() as usize;
    Ok(values[row.saturating_sub(1).min(values.len() - 1)].clone())
}

/// Interpolates between the two values around the fraction.
fn continuous(values: &[Datum], fraction: f64) -> PgResult<Datum> {
    let place = fraction * (values.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let high = high.min(values.len() - 1);
    if low == high {
        return Ok(values[low].clone());
    }
    let proportion = place - low as f64;
    Ok(match (&values[low], &values[high]) {
        (Datum::Float8(low), Datum::Float8(high)) => Datum::Float8(low + proportion * (high - low)),
        (Datum::Interval(low), Datum::Interval(high)) => {
            let distance = high.sub(low)?.mul(proportion)?;
            Datum::Interval(Arc::new(distance.add(low)?))
        }
        _ => Datum::Null,
    })
}

/// The most frequent value; the first in order of those as frequent.
struct Mode {
    ty: Oid,
    best: Datum,
    best_count: u64,
    current: Datum,
    current_count: u64,
}

impl Mode {
    fn new(info: &AggregateInfo) -> Mode {
        Mode { ty: info.arg(0), best: Datum::Null, best_count: 0, current: Datum::Null, current_count: 0 }
    }
}

impl Accumulator for Mode {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let Some(value) = args.first().filter(|value| !value.is_null()) else { return Ok(()) };
        if self.current_count > 0 && compare::cmp(self.ty, value, &self.current).is_eq() {
            self.current_count += 1;
        } else {
            self.current = value.clone();
            self.current_count = 1;
        }
        if self.current_count > self.best_count {
            self.best = self.current.clone();
            self.best_count = self.current_count;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.best.clone())
    }
}

/// Where a row of the direct arguments would stand among the aggregated rows.
struct Hypothetical {
    result: fn(&Hypothetical) -> Datum,
    types: SmallVec<[Oid; 4]>,
    order: SmallVec<[(bool, bool); 2]>,
    rows: i64,
    before: i64,
    peers: i64,
    distinct_before: i64,
    previous: Option<SmallVec<[Datum; 2]>>,
}

impl Hypothetical {
    fn new(info: &AggregateInfo, result: fn(&Hypothetical) -> Datum) -> Hypothetical {
        Hypothetical {
            result,
            types: info.arg_types.iter().map(|ty| ty.oid).collect(),
            order: info.order.clone(),
            rows: 0,
            before: 0,
            peers: 0,
            distinct_before: 0,
            previous: None,
        }
    }

    /// Compares two rows by the sort keys.
    fn compare(&self, left: &[Datum], right: &[Datum]) -> Ordering {
        let direct = self.types.len() / 2;
        for (at, (left, right)) in left.iter().zip(right).enumerate() {
            let (desc, nulls_first) = self.order.get(at).copied().unwrap_or((false, false));
            let ty = self.types.get(direct + at).copied().unwrap_or(oid::UNKNOWN);
            let order = match (left.is_null(), right.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => {
                    if nulls_first {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                (false, true) => {
                    if nulls_first {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
                }
                (false, false) if desc => compare::cmp(ty, right, left),
                (false, false) => compare::cmp(ty, left, right),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Accumulator for Hypothetical {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let (row, values) = args.split_at(args.len() / 2);
        self.rows += 1;
        match self.compare(values, row) {
            Ordering::Less => {
                self.before += 1;
                let is_new =
                    self.previous.as_ref().is_none_or(|previous| self.compare(previous, values).is_ne());
                if is_new {
                    self.distinct_before += 1;
                    self.previous = Some(values.iter().cloned().collect());
                }
            }
            Ordering::Equal => self.peers += 1,
            Ordering::Greater => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok((self.result)(self))
    }
}
