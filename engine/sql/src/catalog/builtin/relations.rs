//! The definitions of the system's own tables, views and indexes: pg_class and pg_attribute.
//!
//! These are the relations of the schemas `pg_catalog` and `information_schema`. What rows they have is told by
//! `catalog::pg_catalog`.

use std::sync::LazyLock;

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::data;
use super::tsv::{Tsv, columns};

/// A system relation.
#[derive(Clone, Debug)]
pub struct SystemRelation {
    /// The relation's oid.
    pub oid: Oid,
    /// Its name.
    pub name: &'static str,
    /// The schema's oid.
    pub namespace: Oid,
    /// `r` table, `v` view, `i` index, `t` TOAST table, `c` composite type.
    pub kind: u8,
    /// The row type's oid, or 0 (indexes).
    pub rowtype: Oid,
    /// Whether all databases share it.
    pub shared: bool,
    /// The columns in order, from attnum 1.
    pub columns: Vec<SystemColumn>,
}

impl SystemRelation {
    /// The position of a column, from 0.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}

/// A column of a system relation.
#[derive(Clone, Debug)]
pub struct SystemColumn {
    /// The column's name.
    pub name: &'static str,
    /// The type.
    pub ty: Oid,
    /// The type modifier, or -1.
    pub typmod: i32,
    /// The collation, or 0.
    pub collation: Oid,
    /// Whether it is NOT NULL.
    pub not_null: bool,
}

#[derive(Debug)]
struct Relations {
    all: Vec<SystemRelation>,
    by_oid: HashMap<Oid, usize>,
    by_name: HashMap<(Oid, &'static str), usize>,
}

static RELATIONS: LazyLock<Relations> = LazyLock::new(load);

/// All system relations, ordered by oid.
pub fn system_relations() -> &'static [SystemRelation] {
    &RELATIONS.all
}

/// A system relation by its oid.
pub fn system_relation(oid: Oid) -> Option<&'static SystemRelation> {
    RELATIONS.by_oid.get(&oid).map(|i| &RELATIONS.all[*i])
}

/// A system relation by its schema's oid and its name.
pub fn system_relation_by_name(namespace: Oid, name: &str) -> Option<&'static SystemRelation> {
    RELATIONS.by_name.get(&(namespace, name)).map(|i| &RELATIONS.all[*i])
}

fn load() -> Relations {
    let tsv = Tsv::new(data::PG_CLASS);
    columns!(tsv: oid, relname, relnamespace, reltype, relisshared, relkind);
    let mut all: Vec<SystemRelation> = tsv
        .iter()
        .map(|row| SystemRelation {
            oid: row.oid(oid),
            name: row.name(relname),
            namespace: row.oid(relnamespace),
            kind: row.char(relkind),
            rowtype: row.oid(reltype),
            shared: row.bool(relisshared),
            columns: Vec::new(),
        })
        .collect();
    let by_oid: HashMap<Oid, usize> = all.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    let by_name = all.iter().enumerate().map(|(i, r)| ((r.namespace, r.name), i)).collect();

    let tsv = Tsv::new(data::PG_ATTRIBUTE);
    columns!(tsv: attrelid, attname, atttypid, attnum, atttypmod, attnotnull, attcollation);
    for row in tsv.iter() {
        let number: i16 = row.number(attnum);
        if number < 1 {
            continue;
        }
        let relation = &mut all[by_oid[&row.oid(attrelid)]];
        assert_eq!(relation.columns.len() + 1, usize::from(number.unsigned_abs()), "columns are in order");
        relation.columns.push(SystemColumn {
            name: row.name(attname),
            ty: row.oid(atttypid),
            typmod: row.number(atttypmod),
            collation: row.oid(attcollation),
            not_null: row.bool(attnotnull),
        });
    }
    Relations { all, by_oid, by_name }
}
