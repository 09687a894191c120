//! Making arrays and cutting slices out of them.

use std::sync::Arc;

use shardforge_types::{ArrayDim, ArrayValue, Datum, Oid, PgError, PgResult, SqlState};

/// The most dimensions that an array may have.
const DIMENSIONS_MAX: usize = 6;

/// `ARRAY[a, b, ...]`.
pub(super) fn from_values(elem: Oid, values: Vec<Datum>) -> PgResult<Datum> {
    Ok(Datum::Array(Arc::new(ArrayValue::from_elements(elem, values))))
}

/// The most elements that an array may have.
const ELEMENTS_MAX: i64 = (1 << 27) - 1;

fn out_of_range(message: &str) -> PgError {
    PgError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

/// An array of one dimension with room for these subscripts: what lies between the old elements and the new ones is
/// NULL.
fn widened(old: Option<&ArrayValue>, elem: Oid, first: i64, last: i64) -> PgResult<ArrayValue> {
    let (mut elements, low) = match old {
        Some(old) if !old.dims.is_empty() => (old.elements.clone(), i64::from(old.dims[0].lower_bound)),
        _ => (Vec::new(), first),
    };
    let high = low + elements.len() as i64 - 1;
    let (new_low, new_high) = (low.min(first), high.max(last));
    if new_high - new_low >= ELEMENTS_MAX {
        let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let in_front = std::iter::repeat_n(Datum::Null, (low - new_low) as usize);
    elements.splice(0..0, in_front);
    elements.resize((new_high - new_low + 1) as usize, Datum::Null);
    let dims = vec![ArrayDim::new(elements.len() as i32, new_low as i32)?];
    Ok(ArrayValue { elem, dims, elements })
}

/// The array with one element replaced, or added.
pub(super) fn set_element(old: Option<&ArrayValue>, elem: Oid, at: &[i32], value: Datum) -> PgResult<Datum> {
    let dims = old.map_or(0, |old| old.dims.len());
    let mut array = match (old, at) {
        (_, [at]) if dims <= 1 => widened(old, elem, i64::from(*at), i64::from(*at))?,
        (Some(old), _) if dims == at.len() => old.clone(),
        _ => return Err(out_of_range("wrong number of array subscripts")),
    };
    let mut place = 0usize;
    for (dim, at) in array.dims.iter().zip(at) {
        let offset = i64::from(*at) - i64::from(dim.lower_bound);
        if offset < 0 || offset >= i64::from(dim.len) {
            return Err(out_of_range("array subscript out of range"));
        }
        place = place * dim.len as usize + offset as usize;
    }
    array.elements[place] = value;
    Ok(Datum::Array(Arc::new(array)))
}

/// The array with a slice of its only dimension replaced.
pub(super) fn set_slice(
    old: Option<&ArrayValue>,
    elem: Oid,
    lower: Option<i32>,
    upper: Option<i32>,
    source: &ArrayValue,
) -> PgResult<Datum> {
    let bounds = match old.map(|old| &old.dims[..]) {
        None | Some([]) => None,
        Some([dim]) => {
            Some((i64::from(dim.lower_bound), i64::from(dim.lower_bound) + i64::from(dim.len) - 1))
        }
        Some(_) => return Err(out_of_range("wrong number of array subscripts")),
    };
    let incomplete = || {
        out_of_range("array slice subscript must provide both boundaries").detail(
            "When assigning to a slice of an empty array value, slice boundaries must be fully specified.",
        )
    };
    let first = lower.map(i64::from).or(bounds.map(|b| b.0)).ok_or_else(incomplete)?;
    let last = upper.map(i64::from).or(bounds.map(|b| b.1)).ok_or_else(incomplete)?;
    if first > last {
        return Err(out_of_range("upper bound cannot be less than lower bound"));
    }
    let mut array = widened(old, elem, first, last)?;
    let count = (last - first + 1) as usize;
    if source.elements.len() < count {
        return Err(out_of_range("source array too small"));
    }
    let start = (first - i64::from(array.dims[0].lower_bound)) as usize;
    array.elements[start..start + count].clone_from_slice(&source.elements[..count]);
    Ok(Datum::Array(Arc::new(array)))
}

/// `ARRAY[[a, b], [c, d]]`: arrays of equal dimensions become the rows of one with a dimension more.
pub(super) fn nest(elem: Oid, rows: &[Datum]) -> PgResult<Datum> {
    let mismatch = || {
        PgError::new(
            SqlState::ARRAY_SUBSCRIPT_ERROR,
            "multidimensional arrays must have array expressions with matching dimensions",
        )
    };
    let mut dims: Option<&[ArrayDim]> = None;
    let mut elements = Vec::new();
    let mut empty = false;
    let mut count = 0;
    for row in rows {
        // NULL and empty rows count as empty ones; all must be, or none.
        let array = match row {
            Datum::Array(array) if !array.dims.is_empty() => array,
            _ => {
                empty = true;
                continue;
            }
        };
        match dims {
            None => dims = Some(&array.dims),
            Some(first) if first == array.dims.as_slice() => {}
            Some(_) => return Err(mismatch()),
        }
        count += 1;
        elements.extend(array.elements.iter().cloned());
    }
    let Some(inner) = dims else {
        return Ok(Datum::Array(Arc::new(ArrayValue { elem, dims: Vec::new(), elements })));
    };
    if empty {
        return Err(mismatch());
    }
    if inner.len() + 1 > DIMENSIONS_MAX {
        return Err(PgError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "number of array dimensions ({}) exceeds the maximum allowed ({DIMENSIONS_MAX})",
                inner.len() + 1
            ),
        ));
    }
    let mut dims = vec![ArrayDim { len: count, lower_bound: 1 }];
    dims.extend_from_slice(inner);
    Ok(Datum::Array(Arc::new(ArrayValue { elem, dims, elements })))
}

/// A bound of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Not written: the array's own bound.
    Open,
    /// NULL: makes the slice NULL.
    Null,
    /// A subscript.
    At(i32),
}

/// Lower and upper bound, both included.
pub(super) type Range = (Bound, Bound);

impl From<Option<i32>> for Bound {
    fn from(value: Option<i32>) -> Bound {
        value.map_or(Bound::Null, Bound::At)
    }
}

/// `array[l1:u1][l2:u2]`: what lies within the ranges, with subscripts from 1.
pub(super) fn slice(array: &ArrayValue, ranges: &[Range]) -> PgResult<Datum> {
    if ranges.iter().any(|(lower, upper)| *lower == Bound::Null || *upper == Bound::Null) {
        return Ok(Datum::Null);
    }
    let empty =
        || Datum::Array(Arc::new(ArrayValue { elem: array.elem, dims: Vec::new(), elements: Vec::new() }));
    if ranges.len() > array.dims.len() {
        return Ok(empty());
    }
    // First and one-past-last offset within each dimension.
    let mut spans = Vec::with_capacity(array.dims.len());
    for (position, dim) in array.dims.iter().enumerate() {
        let len = i64::from(dim.len);
        let offset = |bound: Bound, open: i64| match bound {
            Bound::At(subscript) => i64::from(subscript) - i64::from(dim.lower_bound),
            Bound::Open | Bound::Null => open,
        };
        let (lower, upper) = ranges.get(position).copied().unwrap_or((Bound::Open, Bound::Open));
        let (start, end) = (offset(lower, 0).max(0), offset(upper, len - 1).saturating_add(1).min(len));
        if start >= end {
            return Ok(empty());
        }
        spans.push((start as usize, end as usize, dim.len as usize));
    }
    let mut elements = Vec::new();
    copy_span(&array.elements, &spans, &mut elements);
    let dims =
        spans.iter().map(|(start, end, _)| ArrayDim { len: (end - start) as i32, lower_bound: 1 }).collect();
    Ok(Datum::Array(Arc::new(ArrayValue { elem: array.elem, dims, elements })))
}

/// Copies the elements within the spans, dimension by dimension, in row-major order.
fn copy_span(elements: &[Datum], spans: &[(usize, usize, usize)], out: &mut Vec<Datum>) {
    let Some(((start, end, len), inner)) = spans.split_first() else {
        out.extend(elements.first().cloned());
        return;
    };
    let stride = elements.len() / (*len).max(1);
    for row in *start..*end {
        copy_span(&elements[row * stride..(row + 1) * stride], inner, out);
    }
}
