//! Making arrays and cutting slices out of them.

use std::sync::Arc;

use shardforge_types::{ArrayDim, ArrayValue, Datum, Oid, PgError, PgResult, SqlState};

/// The most dimensions that an array may have.
const DIMENSIONS_MAX: usize = 6;

/// `ARRAY[a, b, ...]`.
pub(super) fn from_values(elem: Oid, values: Vec<Datum>) -> PgResult<Datum> {
    Ok(Datum::Array(Arc::new(ArrayValue::from_elements(elem, values))))
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
