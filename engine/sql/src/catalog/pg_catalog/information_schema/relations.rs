//! Schemas, tables, views and sequences.

use shardforge_types::{Datum, oid, type_name};

use super::{classes, database, yes_or_no};
use crate::catalog::pg_catalog::sequences::schema_name;
use crate::catalog::pg_catalog::views::{name_of, names};
use crate::catalog::pg_catalog::{Rows, SystemScan};
use crate::catalog::{Relation, info};

pub(super) fn catalog_name(scan: &SystemScan<'_>, rows: &mut Rows) {
    rows.push(|r| {
        r.set("catalog_name", database(scan));
    });
}

pub(super) fn enabled_roles(scan: &SystemScan<'_>, rows: &mut Rows) {
    for role in scan.read("pg_authid", &["rolname"], &[]) {
        rows.push(|r| {
            r.set("role_name", role[0].clone());
        });
    }
}

pub(super) fn schemata(scan: &SystemScan<'_>, rows: &mut Rows) {
    let roles = names(scan, "pg_authid", "oid", "rolname");
    let hint: Vec<_> =
        scan.hint("schema_name").map(|values| ("nspname", values.to_vec())).into_iter().collect();
    for schema in scan.read("pg_namespace", &["nspname", "nspowner"], &hint) {
        rows.push(|r| {
            r.set("catalog_name", database(scan)).set("schema_name", schema[0].clone());
            r.set("schema_owner", name_of(&roles, &schema[1]));
        });
    }
}

pub(super) fn tables(scan: &SystemScan<'_>, rows: &mut Rows) {
    for class in classes(scan) {
        let is_temporary = class.persistence == b't';
        rows.push(|r| {
            r.set("table_catalog", database(scan))
                .set("table_schema", class.schema)
                .set("table_name", class.name);
            let kind = match class.kind {
                b'v' => "VIEW",
                _ if is_temporary => "LOCAL TEMPORARY",
                _ => "BASE TABLE",
            };
            r.set("table_type", kind).set("is_insertable_into", yes_or_no(class.kind == b'r'));
            r.set("is_typed", "NO").set("commit_action", is_temporary.then_some("PRESERVE"));
        });
    }
}

pub(super) fn views(scan: &SystemScan<'_>, rows: &mut Rows) {
    for class in classes(scan).into_iter().filter(|c| c.kind == b'v') {
        rows.push(|r| {
            r.set("table_catalog", database(scan))
                .set("table_schema", class.schema)
                .set("table_name", class.name);
            r.set_with("view_definition", || info::view_definition(scan.catalog, class.oid));
            r.set("check_option", "NONE");
            let columns =
                ["is_updatable", "is_insertable_into", "is_trigger_updatable", "is_trigger_deletable"];
            for column in columns.into_iter().chain(["is_trigger_insertable_into"]) {
                r.set(column, "NO");
            }
        });
    }
}

pub(super) fn sequences(scan: &SystemScan<'_>, rows: &mut Rows) {
    let mut found: Vec<_> = scan.catalog.relations.values().collect();
    found.sort_unstable_by_key(|r| r.oid());
    for relation in found {
        let Relation::Sequence(s) = relation else { continue };
        let is_internal = s.owned_by.is_some_and(|(_, _, internal)| internal);
        if is_internal || !scan.may_be_name("sequence_name", &s.name) {
            continue;
        }
        let bits = match s.ty {
            oid::INT2 => 16i32,
            oid::INT4 => 32,
            _ => 64,
        };
        rows.push(|r| {
            r.set("sequence_catalog", database(scan)).set("sequence_schema", schema_name(scan, s.schema));
            r.set("sequence_name", &s.name).set("data_type", type_name(s.ty)).set("numeric_precision", bits);
            r.set("numeric_precision_radix", 2i32).set("numeric_scale", Datum::Int4(0));
            r.set("start_value", s.start.to_string()).set("minimum_value", s.min.to_string());
            r.set("maximum_value", s.max.to_string()).set("increment", s.increment.to_string());
            r.set("cycle_option", yes_or_no(s.cycle));
        });
    }
}
