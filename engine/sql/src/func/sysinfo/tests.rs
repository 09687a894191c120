use std::sync::Arc;

use shardforge_types::{Datum, Oid, oid};

use crate::catalog::builtin::builtin;
use crate::catalog::pg_catalog::tests::sample;
use crate::catalog::well_known::{PG_CATALOG, PUBLIC};
use crate::exec::env::EvalEnv;
use crate::func::{CallInfo, scalar, table};
use crate::ir::Ty;

fn env() -> EvalEnv {
    EvalEnv {
        catalog: Arc::new(sample()),
        search_path: Arc::new([PG_CATALOG, PUBLIC]),
        ..EvalEnv::detached().clone()
    }
}

/// Calls the function of a name and of arguments in their text form; `~` is NULL.
fn call(name: &str, args: &[Datum]) -> String {
    let fits = |ty: &Oid, datum: &Datum| match datum {
        Datum::Oid(_) => matches!(*ty, oid::OID | oid::REGCLASS),
        Datum::Text(_) => matches!(*ty, oid::TEXT | oid::NAME | oid::PG_NODE_TREE),
        Datum::Int4(_) => *ty == oid::INT4,
        Datum::Int2(_) => *ty == oid::INT2,
        Datum::Bool(_) => *ty == oid::BOOL,
        Datum::Char(_) => *ty == oid::CHAR,
        _ => false,
    };
    let proc = builtin()
        .procs_by_name(name)
        .iter()
        .find(|p| p.args.len() == args.len() && p.args.iter().zip(args).all(|(ty, datum)| fits(ty, datum)));
    let proc = proc.unwrap_or_else(|| panic!("{name} takes other arguments"));
    let function = scalar(proc.oid).unwrap_or_else(|| panic!("{name} has a kernel"));
    let ty = |oid| Ty { oid, typmod: -1, collation: Oid(0) };
    let info = CallInfo {
        func: proc.oid,
        arg_types: proc.args.iter().map(|t| ty(*t)).collect(),
        ret: ty(proc.rettype),
        variadic: false,
    };
    match function.call(args, &info, &env()) {
        Ok(Datum::Null) => "~".to_owned(),
        Ok(Datum::Bool(b)) => b.to_string(),
        Ok(Datum::Text(text)) => text.to_string(),
        Ok(Datum::Array(array)) => {
            format!("{:?}", array.elements.iter().filter_map(Datum::as_str).collect::<Vec<_>>())
        }
        Ok(other) => other.as_i64().map_or_else(|| format!("{other:?}"), |n| n.to_string()),
        Err(error) => format!("ERROR: {error}"),
    }
}

const ITEM: Datum = Datum::Oid(16400);

#[test]
fn definitions() {
    assert_eq!(
        call("pg_get_indexdef", &[Datum::Oid(16403)]),
        "CREATE UNIQUE INDEX item_pkey ON public.item USING btree (id)"
    );
    let pretty = [Datum::Oid(16403), Datum::Int4(0), Datum::Bool(true)];
    assert_eq!(call("pg_get_indexdef", &pretty), "CREATE UNIQUE INDEX item_pkey ON item USING btree (id)");
    assert_eq!(call("pg_get_constraintdef", &[Datum::Oid(16404), Datum::Bool(true)]), "PRIMARY KEY (id)");
    assert_eq!(call("pg_get_userbyid", &[Datum::Oid(10)]), "postgres");
    assert_eq!(call("obj_description", &[ITEM, Datum::text("pg_class")]), "things for sale");
    assert_eq!(call("col_description", &[ITEM, Datum::Int4(2)]), "what it is called");
    assert_eq!(call("pg_get_expr", &[Datum::text("(a > 1)"), ITEM, Datum::Bool(true)]), "a > 1");
}

#[test]
fn signatures() {
    let oid_of = |name: &str| Datum::Oid(builtin().procs_by_name(name)[0].oid.0);
    assert_eq!(call("pg_get_function_arguments", &[oid_of("concat")]), "VARIADIC \"any\"");
    assert_eq!(
        call("pg_get_function_arguments", &[oid_of("make_interval")]),
        "years integer DEFAULT 0, months integer DEFAULT 0, weeks integer DEFAULT 0, days integer DEFAULT 0, \
         hours integer DEFAULT 0, mins integer DEFAULT 0, secs double precision DEFAULT 0.0"
    );
    assert_eq!(call("pg_get_function_arguments", &[oid_of("mode")]), "ORDER BY anyelement");
    assert_eq!(call("pg_get_function_result", &[oid_of("pg_get_keywords")]), "SETOF record");
    assert_eq!(call("pg_get_function_result", &[oid_of("length")]), "integer");
}

#[test]
fn visibility() {
    assert_eq!(call("pg_table_is_visible", &[ITEM]), "true");
    assert_eq!(call("pg_table_is_visible", &[Datum::Oid(1259)]), "true");
    assert_eq!(call("pg_table_is_visible", &[Datum::Oid(1)]), "~");
    assert_eq!(call("pg_type_is_visible", &[Datum::Oid(23)]), "true");
    assert_eq!(call("pg_type_is_visible", &[Datum::Oid(16402)]), "true");
    assert_eq!(call("pg_opfamily_is_visible", &[Datum::Oid(1976)]), "true");
}

#[test]
fn privileges() {
    assert_eq!(call("has_table_privilege", &[Datum::text("item"), Datum::text("select")]), "true");
    let joe = [Datum::text("joe"), Datum::text("item"), Datum::text("SELECT, INSERT")];
    assert_eq!(call("has_table_privilege", &joe), "false");
    let nobody =
        call("has_schema_privilege", &[Datum::text("nobody"), Datum::text("public"), Datum::text("USAGE")]);
    assert!(nobody.contains("role \"nobody\" does not exist"), "{nobody}");
    assert_eq!(call("pg_has_role", &[Datum::text("joe"), Datum::text("MEMBER")]), "true");
}

#[test]
fn objects() {
    assert_eq!(call("to_regclass", &[Datum::text("public.item")]), "16400");
    assert_eq!(call("to_regclass", &[Datum::text("nowhere.item")]), "~");
    assert_eq!(call("pg_encoding_to_char", &[Datum::Int4(6)]), "UTF8");
    assert_eq!(call("pg_char_to_encoding", &[Datum::text("utf-8")]), "6");
    assert_eq!(
        call("acldefault", &[Datum::Char(b'd'), Datum::Oid(10)]),
        "[\"=Tc/postgres\", \"postgres=CTc/postgres\"]"
    );
    assert_eq!(call("pg_table_size", &[ITEM]), "0");
    assert!(table(Oid(1689)).is_some(), "aclexplode");
    assert!(table(builtin().procs_by_name("_pg_expandarray")[0].oid).is_some());
}
