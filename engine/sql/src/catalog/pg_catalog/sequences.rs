//! pg_sequence and the view over it.

use shardforge_types::Oid;

use super::relations::user_relations;
use super::{Producer, Rows, SystemScan};
use crate::catalog::{Relation, SequenceDesc};

pub(super) const PRODUCERS: &[(&str, Producer)] =
    &[("pg_sequence", pg_sequence), ("pg_sequences", pg_sequences)];

fn sequences<'a>(scan: &SystemScan<'a>, oid: &str, name: Option<&str>) -> Vec<&'a SequenceDesc> {
    let sequence = |relation: &'a Relation| match relation {
        Relation::Sequence(sequence) => Some(&**sequence),
        _ => None,
    };
    user_relations(scan, oid, name).into_iter().filter_map(sequence).collect()
}

fn pg_sequence(scan: &SystemScan<'_>, rows: &mut Rows) {
    for s in sequences(scan, "seqrelid", None) {
        rows.push(|r| {
            r.set("seqrelid", s.oid)
                .set("seqtypid", s.ty)
                .set("seqstart", s.start)
                .set("seqincrement", s.increment);
            r.set("seqmax", s.max).set("seqmin", s.min).set("seqcache", s.cache).set("seqcycle", s.cycle);
        });
    }
}

fn pg_sequences(scan: &SystemScan<'_>, rows: &mut Rows) {
    for s in sequences(scan, "", Some("sequencename")) {
        rows.push(|r| {
            r.set("schemaname", schema_name(scan, s.schema)).set("sequencename", &s.name);
            r.set("sequenceowner", role_name(scan, s.owner))
                .set("data_type", s.ty)
                .set("start_value", s.start);
            r.set("min_value", s.min)
                .set("max_value", s.max)
                .set("increment_by", s.increment)
                .set("cycle", s.cycle);
            r.set("cache_size", s.cache).set_with("last_value", || scan.session.sequence_last_value(s.oid));
        });
    }
}

/// The name of a schema.
pub(super) fn schema_name<'a>(scan: &SystemScan<'a>, schema: Oid) -> Option<&'a str> {
    scan.catalog.schemas.get(&schema).map(|s| s.name.as_str())
}

/// The name of a role.
pub(super) fn role_name<'a>(scan: &SystemScan<'a>, role: Oid) -> Option<&'a str> {
    scan.catalog.cluster.roles.get(&role).map(|r| r.name.as_str())
}
