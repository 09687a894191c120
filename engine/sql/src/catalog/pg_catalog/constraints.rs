//! Indexes and constraints: pg_index and pg_constraint.

use shardforge_types::{Datum, Oid, oid};

use super::relations::user_tables;
use super::rows::{RowBuilder, array, int2_vector, oid_vector};
use super::{Producer, Rows, SystemScan};
use crate::catalog::builtin::{BTREE_AM, BtreeStrategy, OpClassDesc, builtin};
use crate::catalog::{ForeignKeyDesc, IndexDesc, IndexKey, IndexState, Relation, TableDesc, info};

pub(super) const PRODUCERS: &[(&str, Producer)] = &[("pg_index", pg_index), ("pg_constraint", pg_constraint)];

fn pg_index(scan: &SystemScan<'_>, rows: &mut Rows) {
    let mut found: Vec<(&TableDesc, &IndexDesc)> = match scan.oid_hint("indexrelid") {
        Some(oids) => {
            let index = |oid: &Oid| match scan.catalog.relation(*oid) {
                Some(Relation::Index(table, position)) => Some((&**table, &table.indexes[*position])),
                _ => None,
            };
            oids.iter().filter_map(index).collect()
        }
        None => user_tables(scan, "indrelid")
            .into_iter()
            .flat_map(|t| t.indexes.iter().map(move |i| (t, i)))
            .collect(),
    };
    found.sort_unstable_by_key(|(_, index)| index.oid);
    found.dedup_by_key(|(_, index)| index.oid);
    for (table, index) in found {
        index_row(table, index, rows);
    }
}

fn index_row(table: &TableDesc, index: &IndexDesc, rows: &mut Rows) {
    let attnum = |key: &IndexKey| match key {
        IndexKey::Column(attnum) => *attnum,
        IndexKey::Expression(_) => 0,
    };
    let collation = |key: &IndexKey, ty: Oid| match key {
        IndexKey::Column(attnum) => table.column(*attnum).collation,
        IndexKey::Expression(_) => builtin().type_by_oid(ty).map_or(Oid(0), |t| t.collation),
    };
    let keys = || index.columns.iter();
    let total = index.columns.len() + index.include.len();
    rows.push(|r| {
        r.set("indexrelid", index.oid).set("indrelid", table.oid);
        r.set("indnatts", i16::try_from(total).unwrap_or(i16::MAX));
        r.set("indnkeyatts", i16::try_from(index.columns.len()).unwrap_or(i16::MAX));
        r.set("indisunique", index.unique).set("indnullsnotdistinct", index.nulls_not_distinct);
        r.set("indisprimary", index.primary).set("indimmediate", !index.deferrable);
        r.set("indisvalid", index.state == IndexState::Public).set("indisclustered", index.clustered);
        r.set("indisready", index.state != IndexState::DeleteOnly).set("indislive", true);
        r.set_with("indkey", || {
            let columns = keys().map(|c| attnum(&c.key)).chain(index.include.iter().copied());
            int2_vector(&columns.collect::<Vec<_>>())
        });
        r.set_with("indcollation", || {
            oid_vector(&keys().map(|c| collation(&c.key, c.ty)).collect::<Vec<_>>())
        });
        r.set_with("indclass", || {
            let class = |ty: Oid| builtin().default_opclass(BTREE_AM, ty).map_or(Oid(0), |c| c.oid);
            oid_vector(&keys().map(|c| class(c.ty)).collect::<Vec<_>>())
        });
        r.set_with("indoption", || {
            let option = |desc: bool, nulls_first: bool| i16::from(desc) | (i16::from(nulls_first) << 1);
            int2_vector(&keys().map(|c| option(c.desc, c.nulls_first)).collect::<Vec<_>>())
        });
        r.set_with("indexprs", || {
            let expressions: Vec<&str> = keys()
                .filter_map(|c| match &c.key {
                    IndexKey::Expression(sql) => Some(sql.as_str()),
                    IndexKey::Column(_) => None,
                })
                .collect();
            (!expressions.is_empty()).then(|| expressions.join(", "))
        });
        r.set("indpred", index.predicate.as_ref());
    });
}

/// What pg_constraint says of a constraint.
struct Constraint<'a> {
    oid: Oid,
    name: &'a str,
    kind: u8,
    validated: bool,
    index: Oid,
    no_inherit: bool,
    columns: Vec<i16>,
    expression: Option<&'a str>,
    /// DEFERRABLE, INITIALLY DEFERRED.
    deferring: (bool, bool),
    foreign: Option<&'a ForeignKeyDesc>,
}

fn pg_constraint(scan: &SystemScan<'_>, rows: &mut Rows) {
    for table in user_tables(scan, "conrelid") {
        let mut found = constraints_of(table);
        found.sort_unstable_by_key(|c| c.oid);
        for c in found.iter().filter(|c| scan.may_be_oid("oid", c.oid) && scan.may_be_name("conname", c.name))
        {
            rows.push(|r| {
                r.set("oid", c.oid)
                    .set("conname", c.name)
                    .set("connamespace", table.schema)
                    .set("contype", c.kind);
                r.set("conenforced", c.foreign.is_none_or(|fk| fk.enforced))
                    .set("convalidated", c.validated)
                    .set("conrelid", table.oid);
                r.set("conindid", c.index).set("conislocal", true).set("connoinherit", c.no_inherit);
                r.set("condeferrable", c.deferring.0).set("condeferred", c.deferring.1);
                match c.foreign {
                    Some(fk) => foreign_key_columns(scan, table, fk, r),
                    None => {
                        r.set("confupdtype", b' ').set("confdeltype", b' ').set("confmatchtype", b' ');
                    }
                }
                r.set_with("conkey", || {
                    let columns = c.columns.iter().map(|n| Datum::Int2(*n));
                    (!c.columns.is_empty()).then(|| array(oid::INT2, columns))
                });
                r.set("conbin", c.expression);
            });
        }
    }
}

/// The columns of pg_constraint that foreign keys alone have.
fn foreign_key_columns(
    scan: &SystemScan<'_>,
    table: &TableDesc,
    fk: &ForeignKeyDesc,
    r: &mut RowBuilder<'_>,
) {
    r.set("confrelid", fk.ref_table).set("confupdtype", fk.on_update.letter());
    r.set("confdeltype", fk.on_delete.letter()).set("confmatchtype", if fk.match_full { b'f' } else { b's' });
    let columns = |list: &[i16]| array(oid::INT2, list.iter().map(|n| Datum::Int2(*n)));
    r.set_with("confkey", || columns(&fk.ref_columns));
    r.set_with("confdelsetcols", || {
        (!fk.on_delete_columns.is_empty()).then(|| columns(&fk.on_delete_columns))
    });
    let Some(parent) = scan.catalog.table(fk.ref_table) else { return };
    let types = || {
        fk.columns
            .iter()
            .zip(&fk.ref_columns)
            .map(|(from, to)| (table.column(*from).ty, parent.column(*to).ty))
    };
    // `=` of two types in the referenced index's family, or of the referenced type if there is none.
    let equal = |left: Oid, right: Oid, referenced: Oid| {
        let class = builtin().default_opclass(BTREE_AM, referenced);
        let in_family = |class: &OpClassDesc| {
            let (left, right) = (family_type(left, class), family_type(right, class));
            let own = class.intype;
            let of = |left, right| {
                builtin().family_operator(class.family, left, right, BtreeStrategy::Equal as i16)
            };
            of(left, right).or_else(|| of(own, own))
        };
        Datum::Oid(class.and_then(in_family).unwrap_or(Oid(0)).0)
    };
    r.set_with("conpfeqop", || array(oid::OID, types().map(|(from, to)| equal(to, from, to))));
    r.set_with("conppeqop", || array(oid::OID, types().map(|(_, to)| equal(to, to, to))));
    r.set_with("conffeqop", || array(oid::OID, types().map(|(from, to)| equal(from, from, to))));
}

/// A type as the operators of a family know it: varchar's are those of text.
fn family_type(ty: Oid, class: &OpClassDesc) -> Oid {
    if builtin().is_binary_coercible(ty, class.intype) { class.intype } else { ty }
}

fn constraints_of(table: &TableDesc) -> Vec<Constraint<'_>> {
    let mut out = Vec::new();
    for (number, column) in table.live_columns() {
        if let Some(constraint) = &column.not_null {
            out.push(Constraint {
                oid: constraint.oid,
                name: &constraint.name,
                kind: b'n',
                validated: true,
                index: Oid(0),
                no_inherit: false,
                columns: vec![number],
                expression: None,
                deferring: (false, false),
                foreign: None,
            });
        }
    }
    for check in &table.checks {
        out.push(Constraint {
            oid: check.oid,
            name: &check.name,
            kind: b'c',
            validated: check.validated,
            index: Oid(0),
            no_inherit: false,
            columns: info::referenced_columns(table, &check.sql),
            expression: Some(&check.sql),
            deferring: (false, false),
            foreign: None,
        });
    }
    for index in &table.indexes {
        let Some(oid) = index.constraint else { continue };
        let key = |key: &IndexKey| match key {
            IndexKey::Column(attnum) => Some(*attnum),
            IndexKey::Expression(_) => None,
        };
        out.push(Constraint {
            oid,
            name: &index.name,
            kind: if index.primary { b'p' } else { b'u' },
            validated: true,
            index: index.oid,
            no_inherit: true,
            columns: index.columns.iter().filter_map(|c| key(&c.key)).collect(),
            expression: None,
            deferring: (index.deferrable, index.initially_deferred),
            foreign: None,
        });
    }
    for fk in &table.foreign_keys {
        out.push(Constraint {
            oid: fk.oid,
            name: &fk.name,
            kind: b'f',
            validated: fk.validated,
            index: fk.ref_index,
            no_inherit: true,
            columns: fk.columns.clone(),
            expression: None,
            deferring: (fk.deferrable, fk.initially_deferred),
            foreign: Some(fk),
        });
    }
    out
}
