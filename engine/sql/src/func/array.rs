//! Arrays: building, measuring, searching, comparing, unnesting.

use std::sync::Arc;

use shardforge_types::{
    ArrayDim, ArrayValue, Datum, Oid, PgError, PgResult, SqlState, compare, element_type,
};
use smallvec::smallvec;

use super::args::Args;
use super::registry::{KernelTable, TableKernelTable};
use crate::exec::env::EvalEnv;
use crate::func::{CallInfo, TableRows, to_text};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("array_append", |a, info, _| push(a.datum(0), a.datum(1), End::Back, info)),
    ("array_prepend", |a, info, _| push(a.datum(1), a.datum(0), End::Front, info)),
    ("array_cat", concat),
    ("array_ndims", |a, _, _| Ok(count_or_null(a.array(0)?.dims.len() as i32))),
    ("array_dims", |a, _, _| Ok(dims_text(a.array(0)?))),
    ("array_lower", |a, _, _| Ok(dim(a)?.map_or(Datum::Null, |dim| Datum::Int4(dim.lower_bound)))),
    ("array_upper", |a, _, _| {
        Ok(dim(a)?.map_or(Datum::Null, |dim| Datum::Int4(dim.lower_bound.wrapping_add(dim.len).wrapping_sub(1))))
    }),
    ("array_length", |a, _, _| Ok(dim(a)?.map_or(Datum::Null, |dim| Datum::Int4(dim.len)))),
    ("array_cardinality", |a, _, _| Ok(Datum::Int4(a.array(0)?.elements.len() as i32))),
    ("array_position", position),
    ("array_position_start", position),
    ("array_positions", positions),
    ("array_remove", |a, _, _| replace(a, None)),
    ("array_replace", |a, _, _| replace(a, Some(a.datum(2)))),
    ("array_fill", |a, info, _| fill(a.datum(0), a.datum(1), None, info)),
    ("array_fill_with_lower_bounds", |a, info, _| fill(a.datum(0), a.datum(1), Some(a.datum(2)), info)),
    ("arrayoverlap", |a, _, _| Ok(Datum::Bool(overlap(a.array(0)?, a.array(1)?)))),
    ("arraycontains", |a, _, _| Ok(Datum::Bool(contains_all(a.array(0)?, a.array(1)?)))),
    ("arraycontained", |a, _, _| Ok(Datum::Bool(contains_all(a.array(1)?, a.array(0)?)))),
    ("trim_array", trim),
    ("width_bucket_array", |a, _, _| width_bucket(a.datum(0), a.array(1)?)),
    ("array_reverse", reverse),
    ("array_sort", |a, _, _| sort(a.array(0)?, false, false)),
    ("array_sort_order", |a, _, _| sort(a.array(0)?, a.bool(1)?, a.bool(1)?)),
    ("array_sort_order_nulls_first", |a, _, _| sort(a.array(0)?, a.bool(1)?, a.bool(2)?)),
    ("array_shuffle", |a, _, env| shuffle(a.array(0)?, None, env)),
    ("array_sample", |a, _, env| shuffle(a.array(0)?, Some(a.int4(1)?), env)),
    ("array_larger", |a, info, _| {
        Ok(a.datum(usize::from(compare::cmp(info.arg(0), a.datum(0), a.datum(1)).is_lt())).clone())
    }),
    ("array_smaller", |a, info, _| {
        Ok(a.datum(usize::from(compare::cmp(info.arg(0), a.datum(0), a.datum(1)).is_gt())).clone())
    }),
    ("array_to_text", |a, _, env| join(a.array(0)?, a.text(1)?, None, env).map(Datum::text)),
    ("array_to_text_null", |a, _, env| match (a.datum(0), a.datum(1), a.datum(2)) {
        (Datum::Null, ..) | (_, Datum::Null, _) => Ok(Datum::Null),
        (.., Datum::Null) => join(a.array(0)?, a.text(1)?, None, env).map(Datum::text),
        _ => join(a.array(0)?, a.text(1)?, Some(a.text(2)?), env).map(Datum::text),
    }),
    ("text_to_array", text_to_array),
    ("text_to_array_null", text_to_array),
];

pub(super) const TABLES: TableKernelTable = &[
    ("array_unnest", unnest),
    ("generate_subscripts", subscripts),
    ("generate_subscripts_nodir", subscripts),
    ("text_to_table", text_to_table),
    ("text_to_table_null", text_to_table),
];

fn array(value: ArrayValue) -> Datum {
    Datum::Array(Arc::new(value))
}

fn count_or_null(count: i32) -> Datum {
    if count == 0 { Datum::Null } else { Datum::Int4(count) }
}

fn same(ty: Oid, left: &Datum, right: &Datum) -> bool {
    match (left.is_null(), right.is_null()) {
        (true, true) => true,
        (false, false) => compare::cmp(ty, left, right).is_eq(),
        _ => false,
    }
}

/// The dimension that the second argument names, counted from 1.
fn dim(args: &[Datum]) -> PgResult<Option<ArrayDim>> {
    let number = args.int4(1)?;
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let array = args.array(0)?;
    Ok(at.and_then(|at| array.dims.get(at)).copied())
}

fn dims_text(array: &ArrayValue) -> Datum {
    if array.dims.is_empty() {
        return Datum::Null;
    }
    let upper = |dim: &ArrayDim| i64::from(dim.lower_bound) + i64::from(dim.len) - 1;
    Datum::text(array.dims.iter().map(|d| format!("[{}:{}]", d.lower_bound, upper(d))).collect::<String>())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

fn elem_of_result(info: &CallInfo, fallback: Oid) -> Oid {
    element_type(info.ret.oid).unwrap_or(fallback)
}

/// Adds an element at one end; the subscripts of what was there stay.
fn push(target: &Datum, element: &Datum, end: End, info: &CallInfo) -> PgResult<Datum> {
    let element_arg = if end == End::Back { 1 } else { 0 };
    let Datum::Array(old) = target else {
        let elem = elem_of_result(info, info.arg(element_arg));
        return Ok(array(ArrayValue::from_elements(elem, vec![element.clone()])));
    };
    let bound = match old.dims.as_slice() {
        [] => 1,
        [dim] => dim.lower_bound,
        _ => {
            let message = "argument must be empty or one-dimensional array";
            return Err(PgError::new(SqlState::DATA_EXCEPTION, message));
        }
    };
    let mut elements = Vec::with_capacity(old.elements.len() + 1);
    if end == End::Front {
        elements.push(element.clone());
    }
    elements.extend(old.elements.iter().cloned());
    if end == End::Back {
        elements.push(element.clone());
    }
    let out_of_range = || super::int::out_of_range("integer");
    if end == End::Front && !old.dims.is_empty() {
        bound.checked_sub(1).ok_or_else(out_of_range)?;
    }
    let len = i32::try_from(elements.len()).map_err(|_| out_of_range())?;
    Ok(array(ArrayValue { elem: old.elem, dims: vec![ArrayDim::new(len, bound)?], elements }))
}

#[cold]
fn incompatible(detail: &str) -> PgError {
    PgError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot concatenate incompatible arrays").detail(detail)
}

/// `left || right`: arrays of equal shape, or one that is a row of the other.
fn concat(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let (Datum::Array(left), Datum::Array(right)) = (args.datum(0), args.datum(1)) else {
        return Ok(if args.datum(0).is_null() { args.datum(1).clone() } else { args.datum(0).clone() });
    };
    if left.dims.is_empty() || right.dims.is_empty() {
        return Ok(if left.dims.is_empty() { args.datum(1).clone() } else { args.datum(0).clone() });
    }
    let (outer_left, inner_left) = (&left.dims[0], &left.dims[1..]);
    let (outer_right, inner_right) = (&right.dims[0], &right.dims[1..]);
    let lens = |dims: &[ArrayDim]| dims.iter().map(|dim| dim.len).collect::<Vec<_>>();
    let mut dims;
    if left.dims.len() == right.dims.len() {
        if lens(inner_left) != lens(inner_right) {
            return Err(incompatible(
                "Arrays with differing element dimensions are not compatible for concatenation.",
            ));
        }
        dims = left.dims.clone();
        dims[0].len = outer_left.len.saturating_add(outer_right.len);
    } else if left.dims.len() + 1 == right.dims.len() {
        if lens(&left.dims) != lens(inner_right) {
            return Err(incompatible(
                "Arrays with differing dimensions are not compatible for concatenation.",
            ));
        }
        dims = right.dims.clone();
        dims[0].len = outer_right.len.saturating_add(1);
    } else if right.dims.len() + 1 == left.dims.len() {
        if lens(&right.dims) != lens(inner_left) {
            return Err(incompatible(
                "Arrays with differing dimensions are not compatible for concatenation.",
            ));
        }
        dims = left.dims.clone();
        dims[0].len = outer_left.len.saturating_add(1);
    } else {
        let detail = format!(
            "Arrays of {} and {} dimensions are not compatible for concatenation.",
            left.dims.len(),
            right.dims.len()
        );
        return Err(incompatible(&detail));
    }
    dims[0] = ArrayDim::new(dims[0].len, dims[0].lower_bound)?;
    let elements = left.elements.iter().chain(&right.elements).cloned().collect();
    Ok(array(ArrayValue { elem: left.elem, dims, elements }))
}

fn one_dimensional(array: &ArrayValue, doing: &str, what: &str) -> PgResult<i32> {
    match array.dims.as_slice() {
        [] => Ok(1),
        [dim] => Ok(dim.lower_bound),
        _ => Err(PgError::not_supported(format!(
            "{doing} elements {what} multidimensional arrays is not supported"
        ))),
    }
}

fn position(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let Datum::Array(within) = args.datum(0) else { return Ok(Datum::Null) };
    let bound = one_dimensional(within, "searching for", "in")?;
    let start = match args.get(2) {
        None => bound,
        Some(Datum::Null) => {
            return Err(PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "initial position must not be null"));
        }
        Some(_) => args.int4(2)?,
    };
    let skip = usize::try_from(i64::from(start) - i64::from(bound)).unwrap_or(0);
    let found = within.elements.iter().skip(skip).position(|e| same(within.elem, e, args.datum(1)));
    Ok(found.map_or(Datum::Null, |at| Datum::Int4(bound.wrapping_add((at + skip) as i32))))
}

fn positions(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let Datum::Array(within) = args.datum(0) else { return Ok(Datum::Null) };
    let bound = one_dimensional(within, "searching for", "in")?;
    let hits = (0i32..).zip(&within.elements).filter(|(_, e)| same(within.elem, e, args.datum(1)));
    let hits = hits.map(|(at, _)| Datum::Int4(bound.wrapping_add(at))).collect();
    Ok(array(ArrayValue::from_elements(shardforge_types::oid::INT4, hits)))
}

/// array_remove (no replacement) and array_replace.
fn replace(args: &[Datum], with: Option<&Datum>) -> PgResult<Datum> {
    let Datum::Array(old) = args.datum(0) else { return Ok(Datum::Null) };
    let wanted = args.datum(1);
    let hit = |e: &&Datum| same(old.elem, e, wanted);
    if !old.elements.iter().any(|e| hit(&e)) {
        if with.is_none() {
            one_dimensional(old, "removing", "from")?;
        }
        return Ok(args.datum(0).clone());
    }
    match with {
        Some(with) => {
            let elements =
                old.elements.iter().map(|e| if hit(&e) { with.clone() } else { e.clone() }).collect();
            Ok(array(ArrayValue { elem: old.elem, dims: old.dims.clone(), elements }))
        }
        None => {
            let lower_bound = one_dimensional(old, "removing", "from")?;
            let elements: Vec<Datum> = old.elements.iter().filter(|e| !hit(e)).cloned().collect();
            let dims = match elements.len() {
                0 => Vec::new(),
                len => vec![ArrayDim { len: len as i32, lower_bound }],
            };
            Ok(array(ArrayValue { elem: old.elem, dims, elements }))
        }
    }
}

/// The numbers of an int4[] that gives dimensions or bounds.
fn int_list(datum: &Datum) -> PgResult<Vec<i32>> {
    let null = || {
        PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension array or low bound array cannot be null")
    };
    let Datum::Array(list) = datum else { return Err(null()) };
    if list.dims.len() > 1 {
        return Err(PgError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts")
            .detail("Dimension array must be one dimensional."));
    }
    let number = |element: &Datum| match element {
        Datum::Int4(value) => Ok(*value),
        _ => Err(PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension values cannot be null")),
    };
    list.elements.iter().map(number).collect()
}

fn fill(value: &Datum, lens: &Datum, bounds: Option<&Datum>, info: &CallInfo) -> PgResult<Datum> {
    const DIMENSIONS_MAX: usize = 6;
    const ELEMENTS_MAX: i64 = 134_217_727;
    let lens = int_list(lens)?;
    let bounds = bounds.map(int_list).transpose()?.unwrap_or_else(|| vec![1; lens.len()]);
    if lens.len() != bounds.len() {
        return Err(PgError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts")
            .detail("Low bound array has different size than dimensions array."));
    }
    if lens.len() > DIMENSIONS_MAX {
        let message = format!(
            "number of array dimensions ({}) exceeds the maximum allowed ({DIMENSIONS_MAX})",
            lens.len()
        );
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let too_large = || {
        let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
        PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
    };
    let mut count = i64::from(!lens.is_empty());
    for len in &lens {
        if *len < 0 {
            return Err(too_large());
        }
        count = count.checked_mul(i64::from(*len)).filter(|n| *n <= ELEMENTS_MAX).ok_or_else(too_large)?;
    }
    let elem = elem_of_result(info, info.arg(0));
    let dims = if count == 0 {
        Vec::new()
    } else {
        lens.iter().zip(&bounds).map(|(len, bound)| ArrayDim::new(*len, *bound)).collect::<PgResult<_>>()?
    };
    Ok(array(ArrayValue { elem, dims, elements: vec![value.clone(); count as usize] }))
}

/// Whether an element, not null, is in the array.
fn contains(within: &ArrayValue, element: &Datum) -> bool {
    !element.is_null()
        && within.elements.iter().any(|e| !e.is_null() && compare::cmp(within.elem, e, element).is_eq())
}

fn overlap(left: &ArrayValue, right: &ArrayValue) -> bool {
    left.elements.iter().any(|element| contains(right, element))
}

fn contains_all(outer: &ArrayValue, inner: &ArrayValue) -> bool {
    inner.elements.iter().all(|element| contains(outer, element))
}

/// How many of the ascending thresholds are not above the value.
fn width_bucket(value: &Datum, thresholds: &ArrayValue) -> PgResult<Datum> {
    if thresholds.dims.len() > 1 {
        return Err(PgError::new(
            SqlState::ARRAY_SUBSCRIPT_ERROR,
            "thresholds must be one-dimensional array",
        ));
    }
    if thresholds.elements.iter().any(Datum::is_null) {
        let message = "thresholds array must not contain NULLs";
        return Err(PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
    }
    let below = thresholds
        .elements
        .partition_point(|threshold| compare::cmp(thresholds.elem, threshold, value).is_le());
    Ok(Datum::Int4(below as i32))
}

fn trim(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let (old, n) = (args.array(0)?, args.int4(1)?);
    let len = old.dims.first().map_or(0, |dim| dim.len);
    if n < 0 || n > len {
        let message = format!("number of elements to trim must be between 0 and {len}");
        return Err(PgError::new(SqlState::ARRAY_ELEMENT_ERROR, message));
    }
    let keep = len - n;
    if keep == 0 {
        return Ok(array(ArrayValue { elem: old.elem, dims: Vec::new(), elements: Vec::new() }));
    }
    let stride = old.elements.len() / len as usize;
    let mut dims: Vec<ArrayDim> = old.dims.iter().map(|dim| ArrayDim { lower_bound: 1, ..*dim }).collect();
    dims[0].len = keep;
    Ok(array(ArrayValue { elem: old.elem, dims, elements: old.elements[..keep as usize * stride].to_vec() }))
}

/// The rows of the first dimension, each a run of elements.
fn rows(array: &ArrayValue) -> Vec<&[Datum]> {
    let len = array.dims.first().map_or(0, |dim| dim.len as usize);
    array.elements.chunks(array.elements.len().checked_div(len).unwrap_or(1).max(1)).collect()
}

fn reverse(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let old = args.array(0)?;
    let elements = rows(old).into_iter().rev().flatten().cloned().collect();
    Ok(array(ArrayValue { elem: old.elem, dims: old.dims.clone(), elements }))
}

fn sort(old: &ArrayValue, descending: bool, nulls_first: bool) -> PgResult<Datum> {
    let mut rows = rows(old);
    let order = |left: &Datum, right: &Datum| match (left.is_null(), right.is_null()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) if nulls_first => std::cmp::Ordering::Less,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) if nulls_first => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        _ if descending => compare::cmp(old.elem, right, left),
        _ => compare::cmp(old.elem, left, right),
    };
    rows.sort_by(|left, right| {
        let pairs = left.iter().zip(right.iter());
        pairs.map(|(l, r)| order(l, r)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    let elements = rows.into_iter().flatten().cloned().collect();
    Ok(array(ArrayValue { elem: old.elem, dims: old.dims.clone(), elements }))
}

/// All rows in random order, or `sample` of them.
fn shuffle(old: &ArrayValue, sample: Option<i32>, env: &EvalEnv) -> PgResult<Datum> {
    let mut rows = rows(old);
    let len = old.dims.first().map_or(0, |dim| dim.len);
    let keep = sample.unwrap_or(len);
    if keep < 0 || keep > len {
        let message = format!("sample size must be between 0 and {len}");
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let mut random = env.session.random.lock();
    for at in 0..keep as usize {
        let other = random.in_range(at as i64, i64::from(len) - 1) as usize;
        rows.swap(at, other);
    }
    rows.truncate(keep as usize);
    let elements: Vec<Datum> = rows.into_iter().flatten().cloned().collect();
    let mut dims = if keep == 0 { Vec::new() } else { old.dims.clone() };
    if let (Some(first), true) = (dims.first_mut(), sample.is_some()) {
        *first = ArrayDim { len: keep, lower_bound: 1 };
    }
    Ok(array(ArrayValue { elem: old.elem, dims, elements }))
}

/// The elements' texts with a separator between; NULLs as `null`, or left out.
fn join(array: &ArrayValue, separator: &str, null: Option<&str>, env: &EvalEnv) -> PgResult<String> {
    let texts = array
        .elements
        .iter()
        .filter_map(|element| match element {
            Datum::Null => null.map(|null| Ok(null.to_owned())),
            element => Some(to_text(array.elem, element, env)),
        })
        .collect::<PgResult<Vec<String>>>()?;
    Ok(texts.join(separator))
}

/// Splits a string. No separator (NULL): into characters; the empty one: not at all.
fn split(args: &[Datum]) -> PgResult<Option<Vec<Datum>>> {
    if args.datum(0).is_null() {
        return Ok(None);
    }
    let text = args.text(0)?;
    let null = if args.datum(2).is_null() { None } else { Some(args.text(2)?) };
    let part = |part: &str| if Some(part) == null { Datum::Null } else { Datum::text(part) };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(match args.datum(1) {
        Datum::Null => text.chars().map(|c| part(c.encode_utf8(&mut [0; 4]))).collect(),
        _ => match args.text(1)? {
            "" => vec![part(text)],
            separator => text.split(separator).map(part).collect(),
        },
    }))
}

fn text_to_array(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let Some(parts) = split(args)? else { return Ok(Datum::Null) };
    Ok(array(ArrayValue::from_elements(shardforge_types::oid::TEXT, parts)))
}

fn text_to_table(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let parts = split(args)?.unwrap_or_default();
    Ok(Box::new(parts.into_iter().map(|part| Ok(smallvec![part]))))
}

/// The elements as rows; of an array of composites, their fields as columns.
fn unnest(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let array = args.array(0)?.clone();
    Ok(Box::new((0..array.elements.len()).map(move |at| {
        Ok(match &array.elements[at] {
            Datum::Record(record) => record.fields.iter().cloned().collect(),
            element => smallvec![element.clone()],
        })
    })))
}

fn subscripts(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let Some(dim) = dim(args)? else { return Ok(Box::new(std::iter::empty())) };
    let reverse = if args.len() > 2 { args.bool(2)? } else { false };
    let (first, last) = (dim.lower_bound, dim.lower_bound.saturating_add(dim.len - 1));
    let row = |at: i32| Ok(smallvec![Datum::Int4(at)]);
    Ok(if reverse { Box::new((first..=last).rev().map(row)) } else { Box::new((first..=last).map(row)) })
}
