//! Who waits for whom.

use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, PgResult, oid};

use super::args::Args;
use super::registry::KernelTable;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("pg_blocking_pids", |a, _, env| Ok(process_ids(env.session.host.blocking_pids(a.int4(0)?)))),
    // Every snapshot is safe here: transactions are serialized in the order of their commits, and a snapshot is a
    // moment of that order.
    ("pg_safe_snapshot_blocking_pids", |_, _, _| Ok(process_ids(Vec::new()))),
    ("pg_isolation_test_session_is_blocked", is_blocked_by_any),
];

fn process_ids(pids: Vec<i32>) -> Datum {
    let elements = pids.into_iter().map(Datum::Int4).collect();
    Datum::Array(Arc::new(ArrayValue::from_elements(oid::INT4, elements)))
}

fn is_blocked_by_any(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let (blocking, interesting) = (env.session.host.blocking_pids(args.int4(0)?), args.array(1)?);
    let is_interesting =
        |pid: &i32| interesting.elements.iter().any(|other| other.as_i64() == Some(i64::from(*pid)));
    Ok(Datum::Bool(blocking.iter().any(is_interesting)))
}
