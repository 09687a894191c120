//! Constraints and the columns that they are about.

use shardforge_types::{Datum, Oid};

use super::{Class, classes_by_oid, database, yes_or_no};
use crate::catalog::builtin::system_relation;
use crate::catalog::pg_catalog::views::{name_of, names};
use crate::catalog::pg_catalog::{Rows, SystemScan};
use crate::catalog::{IndexColumn, IndexKey, Relation};

/// A constraint of a table, with the names of its columns.
struct Constraint {
    name: Datum,
    schema: Datum,
    kind: u8,
    columns: Vec<Datum>,
    deferrable: bool,
    deferred: bool,
    enforced: bool,
    index: Datum,
    expression: Datum,
    foreign: Option<Foreign>,
}

/// What a foreign key references.
struct Foreign {
    relation: i64,
    columns: Vec<Datum>,
    /// Positions of `columns` in the referenced key, from 1.
    places: Vec<i32>,
    index: Oid,
    match_type: u8,
    on_update: u8,
    on_delete: u8,
}

/// Calls `each` with every constraint of the tables that the hints leave.
fn for_each(scan: &SystemScan<'_>, mut each: impl FnMut(&Class, &Constraint)) {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let classes = classes_by_oid(scan);
    let wanted = [
        "conrelid",
        "conname",
        "connamespace",
        "contype",
        "conkey",
        "condeferrable",
        "condeferred",
        "conenforced",
        "conindid",
        "conbin",
        "confrelid",
        "confkey",
        "confmatchtype",
        "confupdtype",
        "confdeltype",
    ];
    let hint: Vec<_> =
        scan.hint("constraint_name").map(|values| ("conname", values.to_vec())).into_iter().collect();
    for row in scan.read("pg_constraint", &wanted, &hint) {
        let [relation, name, schema, Datum::Char(kind), key, rest @ ..] = &row[..] else { continue };
        let Some(class) = relation.as_i64().and_then(|oid| classes.get(&oid)).filter(|c| c.kind == b'r')
        else {
            continue;
        };
        let is = |n: usize| rest.get(n).and_then(Datum::as_bool).unwrap_or_default();
        let numbers = numbers_of(key);
        each(
            class,
            &Constraint {
                name: name.clone(),
                schema: name_of(&schemas, schema),
                kind: *kind,
                columns: numbers.into_iter().filter_map(|n| column_name(scan, class.oid, n)).collect(),
                deferrable: is(0),
                deferred: is(1),
                enforced: is(2),
                index: rest[3].clone(),
                expression: rest[4].clone(),
                foreign: (*kind == b'f').then(|| foreign(scan, &rest[3], &rest[5..])).flatten(),
            },
        );
    }
}

fn numbers_of(key: &Datum) -> Vec<i64> {
    match key {
        Datum::Array(key) => key.elements.iter().filter_map(Datum::as_i64).collect(),
        _ => Vec::new(),
    }
}

/// `confrelid`, `confkey`, `confmatchtype`, `confupdtype`, `confdeltype` of a constraint.
fn foreign(scan: &SystemScan<'_>, index: &Datum, columns: &[Datum]) -> Option<Foreign> {
    let [relation, key, Datum::Char(match_type), Datum::Char(on_update), Datum::Char(on_delete)] = columns
    else {
        return None;
    };
    let (relation, index) = (relation.as_i64()?, Oid(u32::try_from(index.as_i64()?).ok()?));
    let (_, desc) = scan.catalog.relation(index)?.index()?;
    let place = |n: &i64| {
        let is_it = |c: &IndexColumn| matches!(c.key, IndexKey::Column(attnum) if i64::from(attnum) == *n);
        Some(i32::try_from(desc.columns.iter().position(is_it)?).ok()? + 1)
    };
    let numbers = numbers_of(key);
    let table = Oid(u32::try_from(relation).ok()?);
    Some(Foreign {
        relation,
        columns: numbers.iter().filter_map(|n| column_name(scan, table, *n)).collect(),
        places: numbers.iter().filter_map(place).collect(),
        index,
        match_type: *match_type,
        on_update: *on_update,
        on_delete: *on_delete,
    })
}

fn column_name(scan: &SystemScan<'_>, relation: Oid, attnum: i64) -> Option<Datum> {
    let position = usize::try_from(attnum - 1).ok()?;
    let name = match scan.catalog.table(relation) {
        Some(table) => table.columns.get(position)?.name.as_str(),
        None => system_relation(relation)?.columns.get(position)?.name,
    };
    Some(Datum::text(name))
}

pub(super) fn table_constraints(scan: &SystemScan<'_>, rows: &mut Rows) {
    for_each(scan, |class, c| {
        let kind = match c.kind {
            b'c' | b'n' => "CHECK",
            b'f' => "FOREIGN KEY",
            b'p' => "PRIMARY KEY",
            b'u' => "UNIQUE",
            _ => return,
        };
        rows.push(|r| {
            r.set("constraint_catalog", database(scan)).set("constraint_schema", c.schema.clone());
            r.set("constraint_name", c.name.clone()).set("table_catalog", database(scan));
            r.set("table_schema", class.schema.clone()).set("table_name", class.name.clone());
            r.set("constraint_type", kind).set("is_deferrable", yes_or_no(c.deferrable));
            r.set("initially_deferred", yes_or_no(c.deferred)).set("enforced", yes_or_no(c.enforced));
            if c.kind == b'u' {
                r.set_with("nulls_distinct", || {
                    let hint = [("indexrelid", vec![c.index.clone()])];
                    let index = scan.read("pg_index", &["indnullsnotdistinct"], &hint);
                    yes_or_no(index.first().is_none_or(|row| row[0] != Datum::Bool(true)))
                });
            }
        });
    });
}

pub(super) fn check_constraints(scan: &SystemScan<'_>, rows: &mut Rows) {
    for_each(scan, |_, c| {
        let clause = match c.kind {
            b'c' => c.expression.clone(),
            b'n' => {
                let column = c.columns.first().and_then(Datum::as_str).unwrap_or("VALUE");
                Datum::text(format!("{column} IS NOT NULL"))
            }
            _ => return,
        };
        rows.push(|r| {
            r.set("constraint_catalog", database(scan)).set("constraint_schema", c.schema.clone());
            r.set("constraint_name", c.name.clone()).set("check_clause", clause);
        });
    });
}

pub(super) fn key_column_usage(scan: &SystemScan<'_>, rows: &mut Rows) {
    for_each(scan, |class, c| {
        if !matches!(c.kind, b'p' | b'u' | b'f') {
            return;
        }
        for (position, column) in (1i32..).zip(&c.columns) {
            rows.push(|r| {
                r.set("constraint_catalog", database(scan)).set("constraint_schema", c.schema.clone());
                r.set("constraint_name", c.name.clone()).set("table_catalog", database(scan));
                r.set("table_schema", class.schema.clone()).set("table_name", class.name.clone());
                r.set("column_name", column.clone()).set("ordinal_position", position);
                let places = c.foreign.as_ref().map(|foreign| &foreign.places);
                r.set(
                    "position_in_unique_constraint",
                    places.and_then(|p| p.get(position as usize - 1)).copied(),
                );
            });
        }
    });
}

pub(super) fn constraint_column_usage(scan: &SystemScan<'_>, rows: &mut Rows) {
    let classes = classes_by_oid(scan);
    for_each(scan, |class, c| {
        // Of a foreign key the referenced columns are shown.
        let (class, columns) = match &c.foreign {
            Some(foreign) => match classes.get(&foreign.relation) {
                Some(referenced) => (referenced, &foreign.columns),
                None => return,
            },
            None => (class, &c.columns),
        };
        for column in columns {
            rows.push(|r| {
                r.set("table_catalog", database(scan)).set("table_schema", class.schema.clone());
                r.set("table_name", class.name.clone()).set("column_name", column.clone());
                r.set("constraint_catalog", database(scan)).set("constraint_schema", c.schema.clone());
                r.set("constraint_name", c.name.clone());
            });
        }
    });
}

pub(super) fn constraint_table_usage(scan: &SystemScan<'_>, rows: &mut Rows) {
    let classes = classes_by_oid(scan);
    for_each(scan, |class, c| {
        let class = match &c.foreign {
            Some(foreign) => match classes.get(&foreign.relation) {
                Some(referenced) => referenced,
                None => return,
            },
            None if matches!(c.kind, b'p' | b'u') => class,
            None => return,
        };
        rows.push(|r| {
            r.set("table_catalog", database(scan)).set("table_schema", class.schema.clone());
            r.set("table_name", class.name.clone()).set("constraint_catalog", database(scan));
            r.set("constraint_schema", c.schema.clone()).set("constraint_name", c.name.clone());
        });
    });
}

pub(super) fn referential_constraints(scan: &SystemScan<'_>, rows: &mut Rows) {
    for_each(scan, |_, c| {
        let Some(foreign) = &c.foreign else { return };
        let action = |letter: u8| match letter {
            b'c' => "CASCADE",
            b'n' => "SET NULL",
            b'd' => "SET DEFAULT",
            b'r' => "RESTRICT",
            _ => "NO ACTION",
        };
        rows.push(|r| {
            r.set("constraint_catalog", database(scan)).set("constraint_schema", c.schema.clone());
            r.set("constraint_name", c.name.clone());
            // A unique index that no constraint made has no name here.
            if let Some((table, index)) = scan.catalog.relation(foreign.index).and_then(Relation::index)
                && index.constraint.is_some()
            {
                let schema = scan.catalog.schemas.get(&table.schema).map(|schema| schema.name.as_str());
                r.set("unique_constraint_catalog", database(scan)).set("unique_constraint_schema", schema);
                r.set("unique_constraint_name", index.name.as_str());
            }
            r.set("match_option", if foreign.match_type == b'f' { "FULL" } else { "NONE" });
            r.set("update_rule", action(foreign.on_update)).set("delete_rule", action(foreign.on_delete));
        });
    });
}
