//! Schemas, relations and their columns: pg_namespace, pg_class, pg_attribute, pg_attrdef.

use shardforge_types::{Datum, Oid, oid};

use super::{Producer, Rows, SystemScan};
use crate::catalog::builtin::tsv::Tsv;
use crate::catalog::builtin::{BTREE_AM, HEAP_AM, TypeDesc, builtin, data};
use crate::catalog::well_known::FIRST_USER_OID;
use crate::catalog::{
    ColumnDesc, IndexDesc, IndexKey, Persistence, Relation, SequenceDesc, TableDesc, ViewDesc, info,
};

pub(super) const PRODUCERS: &[(&str, Producer)] = &[
    ("pg_namespace", pg_namespace),
    ("pg_class", pg_class),
    ("pg_attribute", pg_attribute),
    ("pg_attrdef", pg_attrdef),
];

/// The oids of pg_class and its neighbours, as `classoid` in pg_description and pg_depend.
pub(crate) mod class {
    use shardforge_types::Oid;

    /// pg_type
    pub const TYPE: Oid = Oid(1247);
    /// pg_class
    pub const RELATION: Oid = Oid(1259);
    /// pg_authid
    pub const ROLE: Oid = Oid(1260);
    /// pg_database
    pub const DATABASE: Oid = Oid(1262);
    /// pg_tablespace
    pub const TABLESPACE: Oid = Oid(1213);
    /// pg_attrdef
    pub const DEFAULT: Oid = Oid(2604);
    /// pg_constraint
    pub const CONSTRAINT: Oid = Oid(2606);
    /// pg_namespace
    pub const SCHEMA: Oid = Oid(2615);
}

/// The relations of users that the hints on these columns leave, ordered by oid.
pub(super) fn user_relations<'a>(scan: &SystemScan<'a>, oid: &str, name: Option<&str>) -> Vec<&'a Relation> {
    let catalog = scan.catalog;
    let mut found: Vec<&Relation> = if let Some(oids) = scan.oid_hint(oid) {
        oids.iter().filter_map(|oid| catalog.relation(*oid)).collect()
    } else if let Some(names) = name.and_then(|name| scan.hint(name)) {
        let names = || names.iter().filter_map(|n| n.as_str());
        catalog.schemas.keys().flat_map(|s| names().filter_map(|n| catalog.relation_by_name(*s, n))).collect()
    } else {
        catalog.relations.values().collect()
    };
    found.sort_unstable_by_key(|r| r.oid());
    found.dedup_by_key(|r| r.oid());
    found
}

/// The tables of users that the hint on this column leaves, ordered by oid.
pub(super) fn user_tables<'a>(scan: &SystemScan<'a>, oid: &str) -> Vec<&'a TableDesc> {
    let table = |relation: &'a Relation| match relation {
        Relation::Table(table) => Some(&**table),
        _ => None,
    };
    user_relations(scan, oid, None).into_iter().filter_map(table).collect()
}

fn pg_namespace(scan: &SystemScan<'_>, rows: &mut Rows) {
    let tsv = Tsv::new(data::PG_NAMESPACE);
    let shipped = |oid: Oid| tsv.iter().find(|row| row.oid(0) == oid);
    // pg_toast holds nothing here, so the snapshot need not know it.
    for row in
        tsv.iter().filter(|row| !scan.catalog.schemas.contains_key(&row.oid(0)) && row.name(1) == "pg_toast")
    {
        rows.push(|r| {
            r.set("oid", row.oid(0)).set("nspname", row.name(1)).set("nspowner", row.oid(2));
        });
    }
    let mut schemas: Vec<_> = scan.catalog.schemas.values().collect();
    schemas.sort_unstable_by_key(|s| s.oid);
    for schema in
        schemas.into_iter().filter(|s| scan.may_be_oid("oid", s.oid) && scan.may_be_name("nspname", &s.name))
    {
        rows.push(|r| {
            r.set("oid", schema.oid).set("nspname", &schema.name).set("nspowner", schema.owner);
            if let Some(acl) = shipped(schema.oid).and_then(|row| row.raw(3)) {
                r.set("nspacl", super::acl(acl));
            }
        });
    }
}

fn pg_class(scan: &SystemScan<'_>, rows: &mut Rows) {
    for relation in user_relations(scan, "oid", Some("relname")) {
        if !scan.may_be_oid("relnamespace", relation.schema()) {
            continue;
        }
        match relation {
            Relation::Table(table) => class_of_table(scan, table, rows),
            Relation::Index(table, position) => class_of_index(scan, table, &table.indexes[*position], rows),
            Relation::View(view) => class_of_view(view, rows),
            Relation::Sequence(sequence) => class_of_sequence(sequence, rows),
        }
    }
}

/// `relpages` and `reltuples` as ANALYZE found them.
fn size_of(scan: &SystemScan<'_>, table: Oid) -> (i32, f32) {
    #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
    scan.catalog.stats.get(&table).map_or((0, -1.0), |s| ((s.bytes / 8192.0).ceil() as i32, s.rows as f32))
}

fn persistence(persistence: Persistence) -> u8 {
    match persistence {
        Persistence::Permanent => b'p',
        Persistence::Unlogged => b'u',
        Persistence::Temporary => b't',
    }
}

/// Enforced foreign keys are triggers, on both of their tables.
fn has_triggers(scan: &SystemScan<'_>, table: &TableDesc) -> bool {
    let mut inbound = scan.catalog.referencing(table.oid).iter();
    let is_enforced = |(other, constraint): &(Oid, Oid)| {
        scan.catalog
            .table(*other)
            .and_then(|other| other.foreign_key(*constraint))
            .is_some_and(|fk| fk.enforced)
    };
    table.foreign_keys.iter().any(|fk| fk.enforced) || inbound.any(is_enforced)
}

fn class_of_table(scan: &SystemScan<'_>, table: &TableDesc, rows: &mut Rows) {
    let (pages, tuples) = size_of(scan, table.oid);
    rows.push(|r| {
        r.set("oid", table.oid).set("relname", &table.name).set("relnamespace", table.schema);
        r.set("reltype", table.row_type).set("relowner", table.owner).set("relam", HEAP_AM);
        r.set("relfilenode", Oid(table.storage.0)).set("relpages", pages).set("reltuples", tuples);
        r.set("relhasindex", !table.indexes.is_empty()).set("relpersistence", persistence(table.persistence));
        r.set("relkind", b'r')
            .set("relnatts", count(table.columns.len()))
            .set("relchecks", count(table.checks.len()));
        r.set_with("relhastriggers", || has_triggers(scan, table));
        r.set("relispopulated", true)
            .set("relreplident", b'd')
            .set("relfrozenxid", Oid(3))
            .set("relminmxid", Oid(1));
        r.set_with("reloptions", || storage_parameters(&table.options));
    });
}

fn class_of_index(scan: &SystemScan<'_>, table: &TableDesc, index: &IndexDesc, rows: &mut Rows) {
    let (_, tuples) = size_of(scan, table.oid);
    rows.push(|r| {
        r.set("oid", index.oid).set("relname", &index.name).set("relnamespace", table.schema);
        r.set("relowner", table.owner).set("relam", BTREE_AM).set("relfilenode", Oid(index.storage.0));
        r.set("relpages", 1i32)
            .set("reltuples", tuples.max(0.0))
            .set("relkind", b'i')
            .set("relreplident", b'n');
        r.set("relpersistence", persistence(table.persistence)).set("relispopulated", true);
        r.set("relnatts", count(index.columns.len() + index.include.len()));
        r.set_with("reloptions", || storage_parameters(&index.options));
    });
}

fn storage_parameters(options: &[(String, String)]) -> Option<Datum> {
    let shown = options.iter().map(|(name, value)| format!("{name}={value}"));
    (!options.is_empty()).then(|| super::rows::text_array(shown))
}

fn class_of_view(view: &ViewDesc, rows: &mut Rows) {
    rows.push(|r| {
        r.set("oid", view.oid).set("relname", &view.name).set("relnamespace", view.schema);
        r.set("reltype", view.row_type)
            .set("relowner", view.owner)
            .set("relkind", b'v')
            .set("reltuples", -1.0f32);
        r.set("relnatts", count(view.columns.len())).set("relhasrules", true).set("relispopulated", true);
        r.set("relpersistence", b'p').set("relreplident", b'n');
    });
}

fn class_of_sequence(sequence: &SequenceDesc, rows: &mut Rows) {
    rows.push(|r| {
        r.set("oid", sequence.oid).set("relname", &sequence.name).set("relnamespace", sequence.schema);
        r.set("relowner", sequence.owner).set("relfilenode", sequence.oid).set("relkind", b'S');
        r.set("relpages", 1i32).set("reltuples", 1.0f32).set("relnatts", 3i16).set("relispopulated", true);
        r.set("relpersistence", b'p').set("relreplident", b'n');
    });
}

fn count(n: usize) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// What pg_attribute says of one column.
struct Attribute<'a> {
    relation: Oid,
    number: i16,
    name: &'a str,
    ty: Oid,
    typmod: i32,
    collation: Oid,
    not_null: bool,
    /// The table's column, where there is one.
    column: Option<&'a ColumnDesc>,
}

impl<'a> Attribute<'a> {
    /// A column that is no table's own.
    fn plain(relation: Oid, name: &'a str, number: i16, ty: Oid, not_null: bool) -> Self {
        let collation = builtin().type_by_oid(ty).map_or(Oid(0), |t| t.collation);
        Self { relation, number, name, ty, typmod: -1, collation, not_null, column: None }
    }
}

/// The columns that every table and sequence has unasked: name, number, type.
const SYSTEM_COLUMNS: [(&str, i16, Oid); 6] = [
    ("tableoid", -6, oid::OID),
    ("cmax", -5, oid::CID),
    ("xmax", -4, oid::XID),
    ("cmin", -3, oid::CID),
    ("xmin", -2, oid::XID),
    ("ctid", -1, oid::TID),
];

/// The columns of a sequence read as a table.
pub(crate) const SEQUENCE_COLUMNS: [(&str, Oid); 3] =
    [("last_value", oid::INT8), ("log_cnt", oid::INT8), ("is_called", oid::BOOL)];

fn pg_attribute(scan: &SystemScan<'_>, rows: &mut Rows) {
    for relation in user_relations(scan, "attrelid", None) {
        let mut push = |a: Attribute<'_>| {
            if scan.may_be_name("attname", a.name) {
                attribute(&a, rows);
            }
        };
        let oid = relation.oid();
        if matches!(relation, Relation::Table(_) | Relation::Sequence(_)) {
            for (name, number, ty) in SYSTEM_COLUMNS {
                push(Attribute::plain(oid, name, number, ty, true));
            }
        }
        match relation {
            Relation::Table(table) => {
                for (number, column) in (1i16..).zip(&table.columns) {
                    push(Attribute {
                        relation: table.oid,
                        number,
                        name: &column.name,
                        ty: if column.dropped { Oid(0) } else { column.ty },
                        typmod: column.typmod,
                        collation: column.collation,
                        not_null: column.not_null.is_some(),
                        column: Some(column),
                    });
                }
            }
            Relation::Index(table, position) => {
                let names = index_column_names(table, &table.indexes[*position]);
                for (number, (name, ty, typmod, collation)) in (1i16..).zip(names) {
                    push(Attribute { typmod, collation, ..Attribute::plain(oid, &name, number, ty, false) });
                }
            }
            Relation::View(view) => {
                for (number, (name, ty, typmod, collation)) in (1i16..).zip(&view.columns) {
                    push(Attribute {
                        typmod: *typmod,
                        collation: *collation,
                        ..Attribute::plain(oid, name, number, *ty, false)
                    });
                }
            }
            Relation::Sequence(_) => {
                for (number, (name, ty)) in (1i16..).zip(SEQUENCE_COLUMNS) {
                    push(Attribute::plain(oid, name, number, ty, true));
                }
            }
        }
    }
}

/// The columns of an index as pg_attribute has them: name, type, type modifier, collation.
pub(crate) fn index_column_names(table: &TableDesc, index: &IndexDesc) -> Vec<(String, Oid, i32, Oid)> {
    let of_column = |attnum: i16| {
        let column = table.column(attnum);
        (column.name.clone(), column.ty, column.typmod, column.collation)
    };
    let mut out: Vec<(String, Oid, i32, Oid)> = Vec::new();
    for column in &index.columns {
        let described = match &column.key {
            IndexKey::Column(attnum) => of_column(*attnum),
            IndexKey::Expression(sql) => {
                let collation = builtin().type_by_oid(column.ty).map_or(Oid(0), |t| t.collation);
                (info::expression_name(sql), column.ty, -1, collation)
            }
        };
        out.push(described);
    }
    out.extend(index.include.iter().map(|attnum| of_column(*attnum)));
    // Equal names get a number, as PostgreSQL's ChooseIndexColumnNames.
    for i in 0..out.len() {
        let base = out[i].0.clone();
        let mut n = 0;
        while out[..i].iter().any(|c| c.0 == out[i].0) {
            n += 1;
            out[i].0 = format!("{base}{n}");
        }
    }
    out
}

fn attribute(a: &Attribute<'_>, rows: &mut Rows) {
    let ty = builtin().type_by_oid(a.ty);
    // Row types of users and arrays over them are laid out alike.
    let layout = |f: fn(&TypeDesc) -> u8, user: u8| if a.ty.0 == 0 { 0 } else { ty.map_or(user, f) };
    let dropped = a.column.is_some_and(|c| c.dropped);
    let is_array = ty.is_some_and(TypeDesc::is_array) || (ty.is_none() && a.ty >= FIRST_USER_OID);
    rows.push(|r| {
        r.set("attrelid", a.relation).set("attname", a.name).set("atttypid", a.ty).set("attnum", a.number);
        r.set("attlen", ty.map_or(-1, |t| t.len)).set("atttypmod", a.typmod);
        r.set("attndims", i16::from(is_array && ty.is_some())).set("attbyval", ty.is_some_and(|t| t.byval));
        r.set("attalign", layout(|t| t.align, b'd')).set("attstorage", layout(|t| t.storage, b'x'));
        r.set("attnotnull", a.not_null && !dropped).set("attisdropped", dropped).set("attislocal", true);
        r.set("attcollation", a.collation);
        let Some(column) = a.column else { return };
        r.set("atthasdef", column.default.is_some() && !dropped)
            .set("atthasmissing", column.missing.is_some());
        r.set("attidentity", column.identity.map_or(0, |i| if i.always { b'a' } else { b'd' }));
        r.set("attgenerated", if column.generated { b's' } else { 0 });
    });
}

fn pg_attrdef(scan: &SystemScan<'_>, rows: &mut Rows) {
    for table in user_tables(scan, "adrelid") {
        for (number, column) in table.live_columns() {
            let Some(default) = &column.default else { continue };
            if scan.may_be_oid("oid", default.oid) {
                rows.push(|r| {
                    r.set("oid", default.oid)
                        .set("adrelid", table.oid)
                        .set("adnum", number)
                        .set("adbin", info::shown_expression(scan.catalog, &default.sql));
                });
            }
        }
    }
}
