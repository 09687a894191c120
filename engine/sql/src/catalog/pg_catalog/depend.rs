//! What hangs on what, and what was said about it: pg_depend, pg_description, pg_shdescription.

use shardforge_types::Oid;

use super::relations::{class, user_relations};
use super::{Producer, Rows, SystemScan};
use crate::catalog::{IndexDesc, IndexKey, Relation, SequenceDesc, TableDesc, info};

pub(super) const PRODUCERS: &[(&str, Producer)] =
    &[("pg_depend", pg_depend), ("pg_description", pg_description), ("pg_shdescription", pg_shdescription)];

/// An end of a dependency: catalog, object, column or 0.
type Object = (Oid, Oid, i32);

/// Collects the dependencies that the hints leave.
struct Dependencies<'a, 's> {
    scan: &'a SystemScan<'s>,
    rows: &'a mut Rows,
}

impl Dependencies<'_, '_> {
    /// `kind` is `n` normal, `a` automatic, `i` internal.
    fn add(&mut self, object: Object, on: Object, kind: u8) {
        let oids = [("classid", object.0), ("objid", object.1), ("refclassid", on.0), ("refobjid", on.1)];
        if oids.iter().all(|(column, oid)| self.scan.may_be_oid(column, *oid)) {
            self.rows.push(|r| {
                r.set("classid", object.0).set("objid", object.1).set("objsubid", object.2);
                r.set("refclassid", on.0).set("refobjid", on.1).set("refobjsubid", on.2).set("deptype", kind);
            });
        }
    }
}

fn pg_depend(scan: &SystemScan<'_>, rows: &mut Rows) {
    let mut out = Dependencies { scan, rows };
    for relation in user_relations(scan, "", None) {
        let this = (class::RELATION, relation.oid(), 0);
        if !matches!(relation, Relation::Index(..)) {
            out.add(this, (class::SCHEMA, relation.schema(), 0), b'n');
        }
        match relation {
            Relation::Table(table) => of_table(table, &mut out),
            Relation::View(view) => out.add((class::TYPE, view.row_type, 0), this, b'i'),
            Relation::Sequence(sequence) => of_sequence(sequence, &mut out),
            Relation::Index(..) => {}
        }
    }
}

fn of_sequence(sequence: &SequenceDesc, out: &mut Dependencies<'_, '_>) {
    if let Some((table, attnum, internal)) = sequence.owned_by {
        let kind = if internal { b'i' } else { b'a' };
        out.add((class::RELATION, sequence.oid, 0), (class::RELATION, table, i32::from(attnum)), kind);
    }
}

fn of_table(table: &TableDesc, out: &mut Dependencies<'_, '_>) {
    let column = |attnum: i16| (class::RELATION, table.oid, i32::from(attnum));
    out.add((class::TYPE, table.row_type, 0), column(0), b'i');
    if table.array_type.0 != 0 {
        out.add((class::TYPE, table.array_type, 0), (class::TYPE, table.row_type, 0), b'i');
    }
    for (attnum, desc) in table.live_columns() {
        if let Some(default) = &desc.default {
            out.add((class::DEFAULT, default.oid, 0), column(attnum), b'a');
        }
        if let Some(constraint) = &desc.not_null {
            out.add((class::CONSTRAINT, constraint.oid, 0), column(attnum), b'a');
        }
    }
    for check in &table.checks {
        for attnum in info::referenced_columns(table, &check.sql) {
            out.add((class::CONSTRAINT, check.oid, 0), column(attnum), b'a');
            out.add((class::CONSTRAINT, check.oid, 0), column(attnum), b'n');
        }
    }
    for fk in &table.foreign_keys {
        let this = (class::CONSTRAINT, fk.oid, 0);
        fk.columns.iter().for_each(|attnum| out.add(this, column(*attnum), b'a'));
        for attnum in &fk.ref_columns {
            out.add(this, (class::RELATION, fk.ref_table, i32::from(*attnum)), b'n');
        }
        out.add(this, (class::RELATION, fk.ref_index, 0), b'n');
    }
    for index in &table.indexes {
        let this = (class::RELATION, index.oid, 0);
        let keys = index.columns.iter().filter_map(|c| match &c.key {
            IndexKey::Column(attnum) => Some(column(*attnum)),
            IndexKey::Expression(_) => None,
        });
        match index.constraint {
            Some(constraint) => {
                keys.for_each(|key| out.add((class::CONSTRAINT, constraint, 0), key, b'a'));
                out.add(this, (class::CONSTRAINT, constraint, 0), b'i');
            }
            None => keys.for_each(|key| out.add(this, key, b'a')),
        }
        for sql in expressions_of(index) {
            for attnum in info::referenced_columns(table, sql) {
                out.add(this, column(attnum), b'a');
            }
        }
    }
}

/// The indexed expressions and the predicate of an index.
fn expressions_of(index: &IndexDesc) -> impl Iterator<Item = &str> {
    let keys = index.columns.iter().filter_map(|c| match &c.key {
        IndexKey::Expression(sql) => Some(sql.as_str()),
        IndexKey::Column(_) => None,
    });
    keys.chain(index.predicate.as_deref())
}

/// Whether a catalog is shared by all databases, so that pg_shdescription has its comments.
fn is_shared(class: Oid) -> bool {
    matches!(class, class::DATABASE | class::ROLE | class::TABLESPACE)
}

fn pg_description(scan: &SystemScan<'_>, rows: &mut Rows) {
    for ((class, object, sub), text) in comments(scan, false) {
        rows.push(|r| {
            r.set("objoid", object).set("classoid", class).set("objsubid", sub).set("description", text);
        });
    }
}

fn pg_shdescription(scan: &SystemScan<'_>, rows: &mut Rows) {
    for ((class, object, _), text) in comments(scan, true) {
        rows.push(|r| {
            r.set("objoid", object).set("classoid", class).set("description", text);
        });
    }
}

fn comments<'a>(scan: &SystemScan<'a>, shared: bool) -> Vec<(Object, &'a str)> {
    let all = scan.catalog.comments.iter().map(|(key, text)| (*key, text.as_str()));
    let mut found: Vec<_> = all
        .filter(|((class, object, _), _)| is_shared(*class) == shared && scan.may_be_oid("objoid", *object))
        .collect();
    found.sort_unstable_by_key(|(key, _)| *key);
    found
}
