//! Comparison operators of every type: `=`, `<>`, `<`, `<=`, `>`, `>=` and the btree `cmp` functions.
//!
//! The integers, floats' cousins and text have functions of their own, because they are the hot ones. The rest share
//! six bodies that ask [`shardforge_types::compare`], which knows the order of each type.

use std::cmp::Ordering;

use shardforge_types::{Datum, PgResult, compare::cmp};

use super::args::Args;
use super::registry::KernelTable;
use crate::func::CallInfo;

/// The six comparisons of a pair of integer types, both widened.
macro_rules! integers {
    ($left:ident $right:ident as $ty:ty, $eq:literal $ne:literal $lt:literal $le:literal $gt:literal $ge:literal) => {
        &[
            ($eq, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) == <$ty>::from(a.$right(1)?)))),
            ($ne, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) != <$ty>::from(a.$right(1)?)))),
            ($lt, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) < <$ty>::from(a.$right(1)?)))),
            ($le, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) <= <$ty>::from(a.$right(1)?)))),
            ($gt, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) > <$ty>::from(a.$right(1)?)))),
            ($ge, |a, _, _| Ok(Datum::Bool(<$ty>::from(a.$left(0)?) >= <$ty>::from(a.$right(1)?)))),
        ]
    };
}

/// The comparisons of a type whose order is [`cmp`]'s.
macro_rules! ordered {
    ($eq:literal $ne:literal $lt:literal $le:literal $gt:literal $ge:literal $cmp:literal) => {
        &[
            ($eq, |a, info, _| Ok(Datum::Bool(order(a, info).is_eq()))),
            ($ne, |a, info, _| Ok(Datum::Bool(order(a, info).is_ne()))),
            ($lt, |a, info, _| Ok(Datum::Bool(order(a, info).is_lt()))),
            ($le, |a, info, _| Ok(Datum::Bool(order(a, info).is_le()))),
            ($gt, |a, info, _| Ok(Datum::Bool(order(a, info).is_gt()))),
            ($ge, |a, info, _| Ok(Datum::Bool(order(a, info).is_ge()))),
            ($cmp, |a, info, _| Ok(Datum::Int4(order(a, info) as i32))),
        ]
    };
}

/// What orders strings by their bytes, which for UTF-8 is the order of code points.
macro_rules! inequalities {
    ($get:ident $lt:literal $le:literal $gt:literal $ge:literal $cmp:literal) => {
        &[
            ($lt, |a, _, _| Ok(Datum::Bool(a.$get(0)? < a.$get(1)?))),
            ($le, |a, _, _| Ok(Datum::Bool(a.$get(0)? <= a.$get(1)?))),
            ($gt, |a, _, _| Ok(Datum::Bool(a.$get(0)? > a.$get(1)?))),
            ($ge, |a, _, _| Ok(Datum::Bool(a.$get(0)? >= a.$get(1)?))),
            ($cmp, |a, _, _| Ok(Datum::Int4(a.$get(0)?.cmp(a.$get(1)?) as i32))),
        ]
    };
}

/// One table a type.
pub(super) const TABLES: &[KernelTable] = &[
    integers!(int2 int2 as i16, "int2eq" "int2ne" "int2lt" "int2le" "int2gt" "int2ge"),
    integers!(int4 int4 as i32, "int4eq" "int4ne" "int4lt" "int4le" "int4gt" "int4ge"),
    integers!(int8 int8 as i64, "int8eq" "int8ne" "int8lt" "int8le" "int8gt" "int8ge"),
    integers!(int2 int4 as i32, "int24eq" "int24ne" "int24lt" "int24le" "int24gt" "int24ge"),
    integers!(int4 int2 as i32, "int42eq" "int42ne" "int42lt" "int42le" "int42gt" "int42ge"),
    integers!(int2 int8 as i64, "int28eq" "int28ne" "int28lt" "int28le" "int28gt" "int28ge"),
    integers!(int8 int2 as i64, "int82eq" "int82ne" "int82lt" "int82le" "int82gt" "int82ge"),
    integers!(int4 int8 as i64, "int48eq" "int48ne" "int48lt" "int48le" "int48gt" "int48ge"),
    integers!(int8 int4 as i64, "int84eq" "int84ne" "int84lt" "int84le" "int84gt" "int84ge"),
    integers!(oid oid as u32, "oideq" "oidne" "oidlt" "oidle" "oidgt" "oidge"),
    integers!(bool bool as bool, "booleq" "boolne" "boollt" "boolle" "boolgt" "boolge"),
    integers!(char char as u8, "chareq" "charne" "charlt" "charle" "chargt" "charge"),
    &[
        ("texteq", |a, _, _| Ok(Datum::Bool(a.text(0)? == a.text(1)?))),
        ("textne", |a, _, _| Ok(Datum::Bool(a.text(0)? != a.text(1)?))),
    ],
    inequalities!(text "text_lt" "text_le" "text_gt" "text_ge" "bttextcmp"),
    inequalities!(text "text_pattern_lt" "text_pattern_le" "text_pattern_gt" "text_pattern_ge" "bttext_pattern_cmp"),
    inequalities!(blanks_cut
        "bpchar_pattern_lt" "bpchar_pattern_le" "bpchar_pattern_gt" "bpchar_pattern_ge" "btbpchar_pattern_cmp"),
    ordered!("xid8eq" "xid8ne" "xid8lt" "xid8le" "xid8gt" "xid8ge" "xid8cmp"),
    ordered!("nameeq" "namene" "namelt" "namele" "namegt" "namege" "btnamecmp"),
    ordered!("nameeqtext" "namenetext" "namelttext" "nameletext" "namegttext" "namegetext" "btnametextcmp"),
    ordered!("texteqname" "textnename" "textltname" "textlename" "textgtname" "textgename" "bttextnamecmp"),
    ordered!("bpchareq" "bpcharne" "bpcharlt" "bpcharle" "bpchargt" "bpcharge" "bpcharcmp"),
    ordered!("byteaeq" "byteane" "bytealt" "byteale" "byteagt" "byteage" "byteacmp"),
    ordered!("float4eq" "float4ne" "float4lt" "float4le" "float4gt" "float4ge" "btfloat4cmp"),
    ordered!("float8eq" "float8ne" "float8lt" "float8le" "float8gt" "float8ge" "btfloat8cmp"),
    ordered!("numeric_eq" "numeric_ne" "numeric_lt" "numeric_le" "numeric_gt" "numeric_ge" "numeric_cmp"),
    ordered!("uuid_eq" "uuid_ne" "uuid_lt" "uuid_le" "uuid_gt" "uuid_ge" "uuid_cmp"),
    ordered!("date_eq" "date_ne" "date_lt" "date_le" "date_gt" "date_ge" "date_cmp"),
    ordered!("time_eq" "time_ne" "time_lt" "time_le" "time_gt" "time_ge" "time_cmp"),
    ordered!("timetz_eq" "timetz_ne" "timetz_lt" "timetz_le" "timetz_gt" "timetz_ge" "timetz_cmp"),
    ordered!("timestamp_eq" "timestamp_ne" "timestamp_lt" "timestamp_le" "timestamp_gt" "timestamp_ge" "timestamp_cmp"),
    ordered!("interval_eq" "interval_ne" "interval_lt" "interval_le" "interval_gt" "interval_ge" "interval_cmp"),
    ordered!("array_eq" "array_ne" "array_lt" "array_le" "array_gt" "array_ge" "btarraycmp"),
    ordered!("record_eq" "record_ne" "record_lt" "record_le" "record_gt" "record_ge" "btrecordcmp"),
    ordered!("oidvectoreq" "oidvectorne" "oidvectorlt" "oidvectorle" "oidvectorgt" "oidvectorge" "btoidvectorcmp"),
    &[
        ("xideq", |a, _, _| Ok(Datum::Bool(a.oid(0)? == a.oid(1)?))),
        ("xidneq", |a, _, _| Ok(Datum::Bool(a.oid(0)? != a.oid(1)?))),
        ("cideq", |a, _, _| Ok(Datum::Bool(a.oid(0)? == a.oid(1)?))),
        ("btoidcmp", |a, _, _| Ok(Datum::Int4(a.oid(0)?.cmp(&a.oid(1)?) as i32))),
        ("btboolcmp", |a, _, _| Ok(Datum::Int4(a.bool(0)?.cmp(&a.bool(1)?) as i32))),
        ("btcharcmp", |a, _, _| Ok(Datum::Int4(a.char(0)?.cmp(&a.char(1)?) as i32))),
        ("float48eq", |a, _, _| mixed_floats(a, Ordering::is_eq)),
        ("float48ne", |a, _, _| mixed_floats(a, Ordering::is_ne)),
        ("float48lt", |a, _, _| mixed_floats(a, Ordering::is_lt)),
        ("float48le", |a, _, _| mixed_floats(a, Ordering::is_le)),
        ("float48gt", |a, _, _| mixed_floats(a, Ordering::is_gt)),
        ("float48ge", |a, _, _| mixed_floats(a, Ordering::is_ge)),
        ("float84eq", |a, _, _| mixed_floats(a, Ordering::is_eq)),
        ("float84ne", |a, _, _| mixed_floats(a, Ordering::is_ne)),
        ("float84lt", |a, _, _| mixed_floats(a, Ordering::is_lt)),
        ("float84le", |a, _, _| mixed_floats(a, Ordering::is_le)),
        ("float84gt", |a, _, _| mixed_floats(a, Ordering::is_gt)),
        ("float84ge", |a, _, _| mixed_floats(a, Ordering::is_ge)),
        ("text_larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("text_smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("int2larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("int2smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("int4larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("int4smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("int8larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("int8smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("float8larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("float8smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("numeric_larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("numeric_smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("date_larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("date_smaller", |a, info, _| pick(a, info, Ordering::Less)),
        ("timestamp_larger", |a, info, _| pick(a, info, Ordering::Greater)),
        ("timestamp_smaller", |a, info, _| pick(a, info, Ordering::Less)),
    ],
];

#[inline]
fn order(args: &[Datum], info: &CallInfo) -> Ordering {
    cmp(info.arg(0), args.datum(0), args.datum(1))
}

fn pick(args: &[Datum], info: &CallInfo, wanted: Ordering) -> PgResult<Datum> {
    let position = usize::from(order(args, info) == wanted.reverse());
    Ok(args.datum(position).clone())
}

fn as_float8(datum: &Datum) -> Datum {
    match datum {
        Datum::Float4(value) => Datum::Float8(f64::from(*value)),
        other => other.clone(),
    }
}

fn mixed_floats(args: &[Datum], test: fn(Ordering) -> bool) -> PgResult<Datum> {
    let (left, right) = (as_float8(args.datum(0)), as_float8(args.datum(1)));
    Ok(Datum::Bool(test(cmp(shardforge_types::oid::FLOAT8, &left, &right))))
}
