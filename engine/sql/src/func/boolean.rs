//! Functions over `bool`.

use shardforge_types::{Datum, PgResult};

use super::args::Args;
use super::registry::KernelTable;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;

pub(super) const KERNELS: KernelTable = &[
    ("bool_int4", |a, _, _| Ok(Datum::Int4(i32::from(a.bool(0)?)))),
    ("int4_bool", |a, _, _| Ok(Datum::Bool(a.int4(0)? != 0))),
    ("booltext", bool_text),
    ("booland_statefunc", |a, _, _| Ok(Datum::Bool(a.bool(0)? && a.bool(1)?))),
    ("boolor_statefunc", |a, _, _| Ok(Datum::Bool(a.bool(0)? || a.bool(1)?))),
];

fn bool_text(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    Ok(Datum::text(if args.bool(0)? { "true" } else { "false" }))
}
