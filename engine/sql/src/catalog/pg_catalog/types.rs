//! The types that tables bring along: their row types and the arrays over these, in pg_type.

use shardforge_types::Oid;

use super::relations::user_relations;
use super::{Producer, Rows, SystemScan};
use crate::catalog::Relation;

pub(super) const PRODUCERS: &[(&str, Producer)] = &[("pg_type", pg_type)];

/// A relation's row type.
struct RowType<'a> {
    relation: Oid,
    schema: Oid,
    owner: Oid,
    name: &'a str,
    ty: Oid,
    array: Oid,
}

fn pg_type(scan: &SystemScan<'_>, rows: &mut Rows) {
    for relation in user_relations(scan, "typrelid", None) {
        let (ty, array) = match relation {
            Relation::Table(table) => (table.row_type, table.array_type),
            Relation::View(view) => (view.row_type, Oid(0)),
            Relation::Index(..) | Relation::Sequence(_) => continue,
        };
        let (schema, owner) = (relation.schema(), relation.owner());
        let row_type = RowType { relation: relation.oid(), schema, owner, name: relation.name(), ty, array };
        if !scan.may_be_oid("typnamespace", row_type.schema) {
            continue;
        }
        if scan.may_be_oid("oid", ty) && scan.may_be_name("typname", row_type.name) {
            composite(&row_type, rows);
        }
        let array_name = array_type_name(row_type.name);
        if array.0 != 0 && scan.may_be_oid("oid", array) && scan.may_be_name("typname", &array_name) {
            array_over(&row_type, &array_name, rows);
        }
    }
}

/// The name of the array type over a row type: an underscore before it, within the 63 bytes of a name.
pub(crate) fn array_type_name(name: &str) -> String {
    let mut end = name.len().min(62);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("_{}", &name[..end])
}

// Oids in pg_proc.
const RECORD_IN: Oid = Oid(2290);
const RECORD_OUT: Oid = Oid(2291);
const RECORD_RECV: Oid = Oid(2402);
const RECORD_SEND: Oid = Oid(2403);
const ARRAY_IN: Oid = Oid(750);
const ARRAY_OUT: Oid = Oid(751);
const ARRAY_RECV: Oid = Oid(2400);
const ARRAY_SEND: Oid = Oid(2401);
const ARRAY_TYPANALYZE: Oid = Oid(3816);
const ARRAY_SUBSCRIPT_HANDLER: Oid = Oid(6179);

fn composite(t: &RowType<'_>, rows: &mut Rows) {
    rows.push(|r| {
        r.set("oid", t.ty).set("typname", t.name).set("typnamespace", t.schema).set("typowner", t.owner);
        r.set("typlen", -1i16).set("typtype", b'c').set("typcategory", b'C').set("typisdefined", true);
        r.set("typdelim", b',')
            .set("typrelid", t.relation)
            .set("typarray", t.array)
            .set("typinput", RECORD_IN);
        r.set("typoutput", RECORD_OUT).set("typreceive", RECORD_RECV).set("typsend", RECORD_SEND);
        r.set("typalign", b'd').set("typstorage", b'x').set("typtypmod", -1i32);
    });
}

fn array_over(t: &RowType<'_>, name: &str, rows: &mut Rows) {
    rows.push(|r| {
        r.set("oid", t.array).set("typname", name).set("typnamespace", t.schema).set("typowner", t.owner);
        r.set("typlen", -1i16).set("typtype", b'b').set("typcategory", b'A').set("typisdefined", true);
        r.set("typdelim", b',').set("typsubscript", ARRAY_SUBSCRIPT_HANDLER).set("typelem", t.ty);
        r.set("typinput", ARRAY_IN).set("typoutput", ARRAY_OUT).set("typreceive", ARRAY_RECV);
        r.set("typsend", ARRAY_SEND).set("typanalyze", ARRAY_TYPANALYZE).set("typalign", b'd');
        r.set("typstorage", b'x').set("typtypmod", -1i32);
    });
}
