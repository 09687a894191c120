//! What is going on: sessions, locks, prepared statements, cursors and counters.

use shardforge_types::{Datum, Oid, oid};

use super::relations::user_tables;
use super::rows::array;
use super::sequences::{role_name, schema_name};
use super::{Activity, Producer, Rows, SystemScan};
use crate::catalog::TableDesc;
use crate::catalog::info::has_role;

/// How much of a statement is shown: what PostgreSQL's default of `track_activity_query_size` leaves room for.
const QUERY_BYTES_MAX: usize = 1023;

/// The role whose members see what others do.
const PG_READ_ALL_STATS: Oid = Oid(3375);

pub(super) const PRODUCERS: &[(&str, Producer)] = &[
    ("pg_stat_activity", pg_stat_activity),
    ("pg_locks", pg_locks),
    ("pg_prepared_xacts", pg_prepared_xacts),
    ("pg_stat_progress_create_index", pg_stat_progress_create_index),
    ("pg_prepared_statements", pg_prepared_statements),
    ("pg_cursors", pg_cursors),
    ("pg_stat_all_tables", pg_stat_tables),
    ("pg_stat_user_tables", pg_stat_tables),
    ("pg_stat_all_indexes", pg_stat_indexes),
    ("pg_stat_user_indexes", pg_stat_indexes),
    ("pg_statio_all_tables", pg_statio_tables),
    ("pg_statio_user_tables", pg_statio_tables),
    ("pg_stat_database", pg_stat_database),
];

fn pg_stat_activity(scan: &SystemScan<'_>, rows: &mut Rows) {
    let time = |micros: Option<i64>| micros.map(Datum::Timestamptz);
    for a in scan.session.activity() {
        let database = scan.catalog.cluster.databases.get(&a.database);
        let may_see = may_see(scan, &a);
        rows.push(|r| {
            r.set("datid", a.database).set("datname", database.map(|d| &d.name)).set("pid", a.pid);
            r.set("usesysid", a.user).set("usename", role_name(scan, a.user));
            r.set("application_name", &a.application_name);
            if !may_see {
                r.set("query", "<insufficient privilege>");
                return;
            }
            r.set("client_addr", a.client_addr.as_ref());
            r.set("client_port", a.client_port).set("backend_start", time(Some(a.backend_start)));
            r.set("xact_start", time(a.xact_start)).set("query_start", time(a.query_start));
            r.set("state_change", time(a.state_change)).set("state", a.state);
            r.set_with("query", || clipped(&a.query));
            r.set("backend_xid", a.transaction.map(Oid)).set("backend_xmin", a.snapshot.map(Oid));
            r.set("wait_event_type", a.wait_event.map(|w| w.0)).set("wait_event", a.wait_event.map(|w| w.1));
            r.set("backend_type", "client backend");
        });
    }
}

/// Whether who asks may see what a session does.
fn may_see(scan: &SystemScan<'_>, a: &Activity) -> bool {
    let roles = [a.user, PG_READ_ALL_STATS];
    roles.into_iter().any(|role| has_role(scan.catalog, scan.session.user(), role))
}

fn pg_stat_progress_create_index(scan: &SystemScan<'_>, rows: &mut Rows) {
    for a in scan.session.activity() {
        let Some(progress) = &a.index else { continue };
        let database = scan.catalog.cluster.databases.get(&a.database);
        rows.push(|r| {
            r.set("pid", a.pid).set("datid", a.database).set("datname", database.map(|d| &d.name));
            if !may_see(scan, &a) {
                return;
            }
            r.set("relid", progress.table).set("index_relid", progress.index);
            r.set("command", progress.command).set("phase", progress.phase);
            let (lockers, locker) = a.lockers;
            r.set("lockers_total", count(lockers as u64)).set("lockers_done", 0_i64);
            r.set("current_locker_pid", i64::from(locker));
            let estimate = scan.catalog.stats.get(&progress.table).map_or(0, |stats| stats.rows as u64);
            r.set("tuples_total", count(estimate.max(progress.rows)))
                .set("tuples_done", count(progress.rows));
            for none in ["blocks_total", "blocks_done", "partitions_total", "partitions_done"] {
                r.set(none, 0_i64);
            }
        });
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The beginning of a statement's text, as much as is kept of it.
fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(QUERY_BYTES_MAX)]
}

fn pg_locks(scan: &SystemScan<'_>, rows: &mut Rows) {
    for lock in scan.session.locks() {
        rows.push(|r| {
            r.set("locktype", lock.locktype).set("database", lock.database).set("relation", lock.relation);
            r.set("page", lock.tuple.map(|(page, _)| page)).set("tuple", lock.tuple.map(|(_, tuple)| tuple));
            r.set("virtualxid", lock.virtualxid).set("transactionid", lock.transaction.map(Oid));
            if let Some((class, object, sub)) = lock.object {
                r.set("classid", Oid(class)).set("objid", Oid(object)).set("objsubid", sub);
            }
            r.set("virtualtransaction", lock.virtual_transaction);
            r.set("pid", (lock.pid != 0).then_some(lock.pid)).set("mode", lock.mode);
            r.set("granted", lock.granted).set("fastpath", lock.fastpath);
            r.set("waitstart", lock.wait_start.map(Datum::Timestamptz));
        });
    }
}

fn pg_prepared_xacts(scan: &SystemScan<'_>, rows: &mut Rows) {
    for xact in scan.session.prepared_transactions() {
        let database = scan.catalog.cluster.databases.get(&xact.database);
        rows.push(|r| {
            r.set("transaction", Oid(xact.transaction)).set("gid", &xact.gid);
            r.set("prepared", Datum::Timestamptz(xact.prepared)).set("owner", role_name(scan, xact.owner));
            r.set("database", database.map(|d| &d.name));
        });
    }
}

fn pg_prepared_statements(scan: &SystemScan<'_>, rows: &mut Rows) {
    let types = |types: &[Oid]| array(oid::REGTYPE, types.iter().map(|t| Datum::Oid(t.0)));
    for s in scan.session.prepared_statements() {
        rows.push(|r| {
            r.set("name", &s.name).set("statement", &s.statement);
            r.set("prepare_time", Datum::Timestamptz(s.prepare_time))
                .set("parameter_types", types(&s.parameter_types));
            r.set("result_types", s.result_types.as_deref().map(types)).set("from_sql", s.from_sql);
            r.set("generic_plans", s.generic_plans).set("custom_plans", s.custom_plans);
        });
    }
}

fn pg_cursors(scan: &SystemScan<'_>, rows: &mut Rows) {
    for c in scan.session.cursors() {
        rows.push(|r| {
            r.set("name", &c.name).set("statement", &c.statement).set("is_holdable", c.is_holdable);
            r.set("is_binary", c.is_binary).set("is_scrollable", c.is_scrollable);
            r.set("creation_time", Datum::Timestamptz(c.creation_time));
        });
    }
}

fn hinted_tables<'a>(scan: &SystemScan<'a>) -> impl Iterator<Item = &'a TableDesc> {
    user_tables(scan, "relid").into_iter().filter(|t| scan.may_be_name("relname", &t.name))
}

fn pg_stat_tables(scan: &SystemScan<'_>, rows: &mut Rows) {
    for table in hinted_tables(scan) {
        let counted = scan.session.table_activity(table.oid);
        #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
        let live =
            scan.catalog.stats.get(&table.oid).map_or(counted.inserted - counted.deleted, |s| s.rows as i64);
        rows.push(|r| {
            r.set("relid", table.oid)
                .set("schemaname", schema_name(scan, table.schema))
                .set("relname", &table.name);
            r.set("seq_scan", counted.seq_scan).set("seq_tup_read", counted.seq_tup_read);
            r.set("idx_scan", counted.idx_scan).set("idx_tup_fetch", counted.idx_tup_fetch);
            r.set("n_tup_ins", counted.inserted)
                .set("n_tup_upd", counted.updated)
                .set("n_tup_del", counted.deleted);
            r.set("n_live_tup", live.max(0))
                .set("last_analyze", counted.last_analyze.map(Datum::Timestamptz));
            r.set("analyze_count", counted.analyze_count);
            let zeros = [
                "n_tup_hot_upd",
                "n_tup_newpage_upd",
                "n_dead_tup",
                "n_mod_since_analyze",
                "n_ins_since_vacuum",
            ];
            for column in zeros.into_iter().chain(["vacuum_count", "autovacuum_count", "autoanalyze_count"]) {
                r.set(column, 0i64);
            }
            for column in
                ["total_vacuum_time", "total_autovacuum_time", "total_analyze_time", "total_autoanalyze_time"]
            {
                r.set(column, 0.0f64);
            }
        });
    }
}

fn pg_stat_indexes(scan: &SystemScan<'_>, rows: &mut Rows) {
    for table in hinted_tables(scan) {
        for index in &table.indexes {
            let counted = scan.session.table_activity(index.oid);
            rows.push(|r| {
                r.set("relid", table.oid).set("indexrelid", index.oid).set("relname", &table.name);
                r.set("schemaname", schema_name(scan, table.schema)).set("indexrelname", &index.name);
                r.set("idx_scan", counted.idx_scan).set("idx_tup_read", counted.seq_tup_read);
                r.set("idx_tup_fetch", counted.idx_tup_fetch);
            });
        }
    }
}

fn pg_statio_tables(scan: &SystemScan<'_>, rows: &mut Rows) {
    for table in hinted_tables(scan) {
        rows.push(|r| {
            r.set("relid", table.oid)
                .set("schemaname", schema_name(scan, table.schema))
                .set("relname", &table.name);
            for column in ["heap_blks_read", "heap_blks_hit", "idx_blks_read", "idx_blks_hit"] {
                r.set(column, 0i64);
            }
        });
    }
}

fn pg_stat_database(scan: &SystemScan<'_>, rows: &mut Rows) {
    let sessions = scan.session.activity();
    let mut databases: Vec<_> = scan.catalog.cluster.databases.values().collect();
    databases.sort_unstable_by_key(|d| d.oid);
    for database in databases {
        let backends = sessions.iter().filter(|s| s.database == database.oid).count();
        rows.push(|r| {
            r.set("datid", database.oid).set("datname", &database.name);
            r.set("numbackends", i32::try_from(backends).unwrap_or(i32::MAX));
        });
    }
}
