//! Transaction ids and snapshots of them.
//!
//! An id is the moment at which its transaction began, on the store's clock: it takes 64 bits, and later transactions
//! have greater ones. A snapshot is a moment too. PostgreSQL's form of it, the ids that were in use then, is worked out
//! when it is asked for.

use smallvec::smallvec;

use shardforge_types::io::snapshot::Snapshot;
use shardforge_types::{Datum, PgResult};

use super::args::Args;
use super::registry::{KernelTable, TableKernelTable};
use crate::exec::env::EvalEnv;
use crate::func::{CallInfo, TableRows};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("pg_current_xact_id", |_, _, env| current_id(true, env)),
    ("pg_current_xact_id_if_assigned", |_, _, env| current_id(false, env)),
    ("pg_current_snapshot", |_, _, env| Ok(Datum::bytea(env.session.host.current_snapshot()?.to_bytes()))),
    ("pg_snapshot_xmin", |a, _, _| Ok(id(snapshot(a, 0)?.xmin))),
    ("pg_snapshot_xmax", |a, _, _| Ok(id(snapshot(a, 0)?.xmax))),
    ("pg_visible_in_snapshot", |a, _, _| Ok(Datum::Bool(snapshot(a, 1)?.sees(a.int8(0)?.cast_unsigned())))),
    ("pg_xact_status", |a, _, env| {
        let outcome = env.session.host.transaction_outcome(a.int8(0)?.cast_unsigned())?;
        Ok(outcome.map_or(Datum::Null, Datum::text))
    }),
    ("pg_export_snapshot", |_, _, env| env.session.host.export_snapshot().map(Datum::text)),
    ("xid8toxid", |a, _, _| Ok(Datum::Oid(a.int8(0)? as u32))),
];

pub(super) const TABLES: TableKernelTable = &[("pg_snapshot_xip", running)];

fn id(xid: u64) -> Datum {
    Datum::Int8(xid.cast_signed())
}

fn current_id(assign: bool, env: &EvalEnv) -> PgResult<Datum> {
    Ok(env.session.host.transaction_id(assign)?.map_or(Datum::Null, id))
}

fn snapshot(args: &[Datum], index: usize) -> PgResult<Snapshot> {
    Snapshot::recv(args.bytea(index)?)
}

fn running(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let running = snapshot(args, 0)?.running;
    Ok(Box::new(running.into_iter().map(|xid| Ok(smallvec![id(xid)]))))
}
