//! The columns of tables and views.

use hashbrown::HashMap;
use shardforge_types::{Datum, Oid, oid, type_name};

use super::{Class, classes, database, yes_or_no};
use crate::catalog::builtin::{TypeDesc, TypeKind, builtin};
use crate::catalog::pg_catalog::rows::RowBuilder;
use crate::catalog::pg_catalog::views::{name_of, names};
use crate::catalog::pg_catalog::{Rows, SystemScan};
use crate::catalog::well_known::{FIRST_USER_OID, PG_CATALOG};
use crate::catalog::{Relation, SequenceDesc, info};

/// The collation `default`, which is not worth a mention.
const DEFAULT_COLLATION: Oid = Oid(100);

/// A column as pg_attribute has it.
struct Column {
    number: i16,
    name: Datum,
    ty: Oid,
    typmod: i32,
    not_null: bool,
    collation: Datum,
    identity: u8,
    generated: u8,
}

/// The names that columns are described with.
struct Names {
    schemas: HashMap<i64, Datum>,
    collations: HashMap<i64, Datum>,
}

pub(super) fn columns(scan: &SystemScan<'_>, rows: &mut Rows) {
    let names = Names {
        schemas: names(scan, "pg_namespace", "oid", "nspname"),
        collations: names(scan, "pg_collation", "oid", "collname"),
    };
    let classes = classes(scan);
    let mut by_relation = attributes(scan, &classes);
    for class in classes {
        for column in by_relation.remove(&class.oid).unwrap_or_default() {
            if scan.may_be_name("column_name", column.name.as_str().unwrap_or_default()) {
                rows.push(|r| describe(scan, &names, &class, &column, r));
            }
        }
    }
}

fn attributes(scan: &SystemScan<'_>, classes: &[Class]) -> HashMap<Oid, Vec<Column>> {
    let wanted = [
        "attrelid",
        "attnum",
        "attname",
        "atttypid",
        "atttypmod",
        "attnotnull",
        "attcollation",
        "attidentity",
        "attgenerated",
        "attisdropped",
    ];
    let oids = classes.iter().map(|c| Datum::Oid(c.oid.0)).collect();
    let mut out: HashMap<Oid, Vec<Column>> = HashMap::new();
    for row in scan.read("pg_attribute", &wanted, &[("attrelid", oids)]) {
        let [Datum::Oid(relation), Datum::Int2(number), name, Datum::Oid(ty), Datum::Int4(typmod), rest @ ..] =
            &row[..]
        else {
            continue;
        };
        let [
            Datum::Bool(not_null),
            collation,
            Datum::Char(identity),
            Datum::Char(generated),
            Datum::Bool(false),
        ] = rest
        else {
            continue;
        };
        if *number > 0 {
            out.entry(Oid(*relation)).or_default().push(Column {
                number: *number,
                name: name.clone(),
                ty: Oid(*ty),
                typmod: *typmod,
                not_null: *not_null,
                collation: collation.clone(),
                identity: *identity,
                generated: *generated,
            });
        }
    }
    out
}

fn describe(scan: &SystemScan<'_>, names: &Names, class: &Class, column: &Column, r: &mut RowBuilder<'_>) {
    let database = database(scan);
    r.set("table_catalog", database)
        .set("table_schema", class.schema.clone())
        .set("table_name", class.name.clone());
    r.set("column_name", column.name.clone()).set("ordinal_position", i32::from(column.number));
    let default = info::column_default(scan.catalog, class.oid, column.number);
    r.set("column_default", default.as_deref().filter(|_| column.generated == 0));
    r.set("is_nullable", yes_or_no(!column.not_null)).set("dtd_identifier", column.number.to_string());
    r.set("is_self_referencing", "NO").set("is_updatable", yes_or_no(class.kind == b'r'));
    r.set("is_generated", if column.generated == 0 { "NEVER" } else { "ALWAYS" });
    r.set("generation_expression", default.as_deref().filter(|_| column.generated != 0));
    identity(scan, class, column, r);

    let domain = builtin().type_by_oid(column.ty).filter(|t| t.kind == TypeKind::Domain);
    if let Some(domain) = domain {
        r.set("domain_catalog", database).set("domain_name", &*domain.name);
        r.set("domain_schema", name_of(&names.schemas, &Datum::Oid(domain.namespace.0)));
    }
    let (base, typmod) = domain.map_or((column.ty, column.typmod), |d| (d.basetype, d.typmod));
    data_type(scan, names, base, r);
    lengths(base, typmod, r);
    if !matches!(column.collation, Datum::Oid(0)) && column.collation != Datum::Oid(DEFAULT_COLLATION.0) {
        r.set("collation_catalog", database).set("collation_schema", "pg_catalog");
        r.set("collation_name", name_of(&names.collations, &column.collation));
    }
}

fn identity(scan: &SystemScan<'_>, class: &Class, column: &Column, r: &mut RowBuilder<'_>) {
    let sequence = |oid| match scan.catalog.relation(oid) {
        Some(Relation::Sequence(sequence)) => Some(&**sequence),
        _ => None,
    };
    let found: Option<&SequenceDesc> = scan.catalog.table(class.oid).and_then(|table| {
        let (_, desc) = table.live_columns().find(|(number, _)| *number == column.number)?;
        sequence(desc.identity?.sequence)
    });
    r.set("is_identity", yes_or_no(column.identity != 0))
        .set("identity_cycle", yes_or_no(found.is_some_and(|s| s.cycle)));
    r.set(
        "identity_generation",
        match column.identity {
            b'a' => Some("ALWAYS"),
            b'd' => Some("BY DEFAULT"),
            _ => None,
        },
    );
    if let Some(s) = found {
        r.set("identity_start", s.start.to_string()).set("identity_increment", s.increment.to_string());
        r.set("identity_maximum", s.max.to_string()).set("identity_minimum", s.min.to_string());
    }
}

fn data_type(scan: &SystemScan<'_>, names: &Names, ty: Oid, r: &mut RowBuilder<'_>) {
    r.set("udt_catalog", database(scan));
    if let Some(desc) = builtin().type_by_oid(ty) {
        r.set("udt_schema", name_of(&names.schemas, &Datum::Oid(desc.namespace.0)))
            .set("udt_name", &*desc.name);
        r.set("data_type", standard_name(desc));
        return;
    }
    let rows =
        scan.read("pg_type", &["typname", "typnamespace", "typelem"], &[("oid", vec![Datum::Oid(ty.0)])]);
    debug_assert!(ty >= FIRST_USER_OID);
    if let Some([name, schema, elem]) = rows.first().map(Vec::as_slice) {
        r.set("udt_schema", name_of(&names.schemas, schema)).set("udt_name", name.clone());
        r.set("data_type", if *elem == Datum::Oid(0) { "USER-DEFINED" } else { "ARRAY" });
    }
}

/// `data_type`: arrays have one name, and so have all types outside of pg_catalog.
pub(super) fn standard_name(desc: &TypeDesc) -> String {
    if desc.elem.0 != 0 && desc.len == -1 {
        "ARRAY".to_owned()
    } else if desc.namespace == PG_CATALOG {
        type_name(desc.oid)
    } else {
        "USER-DEFINED".to_owned()
    }
}

/// Lengths, precisions and scales, from the type and its modifier.
fn lengths(ty: Oid, typmod: i32, r: &mut RowBuilder<'_>) {
    const HEADER: i32 = 4;
    const BYTES_PER_CHAR_MAX: i32 = 4;
    const TEXT_BYTES_MAX: i32 = 1 << 30;
    let given = (typmod >= 0).then_some(typmod);
    let length = given.map(|m| m - HEADER);
    match ty {
        oid::TEXT => {
            r.set("character_octet_length", TEXT_BYTES_MAX);
        }
        oid::VARCHAR | oid::BPCHAR => {
            r.set("character_maximum_length", length);
            r.set(
                "character_octet_length",
                length.map_or(TEXT_BYTES_MAX, |n| n.saturating_mul(BYTES_PER_CHAR_MAX)),
            );
        }
        oid::BIT | oid::VARBIT => {
            r.set("character_maximum_length", given);
        }
        oid::INT2 => binary_number(16, Some(0), r),
        oid::INT4 => binary_number(32, Some(0), r),
        oid::INT8 => binary_number(64, Some(0), r),
        oid::FLOAT4 => binary_number(24, None, r),
        oid::FLOAT8 => binary_number(53, None, r),
        oid::NUMERIC => {
            r.set("numeric_precision_radix", 10i32)
                .set("numeric_precision", length.map(|n| (n >> 16) & 0xFFFF));
            r.set("numeric_scale", length.map(|n| n & 0xFFFF));
        }
        oid::DATE => {
            r.set("datetime_precision", 0i32);
        }
        oid::TIME | oid::TIMETZ | oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            r.set("datetime_precision", given.unwrap_or(6));
        }
        oid::INTERVAL => {
            r.set("datetime_precision", given.map(|m| m & 0xFFFF).filter(|p| *p != 0xFFFF).unwrap_or(6));
        }
        _ => {}
    }
}

fn binary_number(precision: i32, scale: Option<i32>, r: &mut RowBuilder<'_>) {
    r.set("numeric_precision", precision).set("numeric_precision_radix", 2i32).set("numeric_scale", scale);
}
