use shardforge_types::Oid;

use super::expressions::{is_call, is_parenthesized};
use super::*;
use crate::catalog::pg_catalog::tests::sample;
use crate::catalog::well_known::{BOOTSTRAP_ROLE, PG_CATALOG, PUBLIC};

#[test]
fn index_definitions() {
    let catalog = sample();
    assert_eq!(
        index_definition(&catalog, Oid(16403)).as_deref(),
        Some("CREATE UNIQUE INDEX item_pkey ON public.item USING btree (id)")
    );
    assert_eq!(
        index_definition(&catalog, Oid(16405)).as_deref(),
        Some(
            "CREATE UNIQUE INDEX item_lower ON public.item USING btree (lower((name)::text), price DESC) \
             WHERE ((price > (1)::numeric) AND (id < 5))"
        )
    );
    let path = [PG_CATALOG, PUBLIC];
    assert_eq!(
        index_column_definition(&catalog, &path, Oid(16405), 0, true).as_deref(),
        Some(
            "CREATE UNIQUE INDEX item_lower ON item USING btree (lower(name::text), price DESC) \
             WHERE price > 1::numeric AND id < 5"
        )
    );
    assert_eq!(index_column_definition(&catalog, &path, Oid(16405), 2, true).as_deref(), Some("price"));
    assert_eq!(
        index_definition(&catalog, Oid(2663)).as_deref(),
        Some(
            "CREATE UNIQUE INDEX pg_class_relname_nsp_index ON pg_catalog.pg_class USING btree (relname, relnamespace)"
        )
    );
    assert_eq!(index_definition(&catalog, Oid(1)), None);
}

#[test]
fn constraint_and_view_definitions() {
    let catalog = sample();
    let constraint = |oid, pretty| constraint_definition(&catalog, &[], Oid(oid), pretty);
    assert_eq!(constraint(16404, false).as_deref(), Some("PRIMARY KEY (id)"));
    assert_eq!(constraint(16423, false).as_deref(), Some("CHECK ((price > (0)::numeric))"));
    assert_eq!(constraint(16423, true).as_deref(), Some("CHECK (price > 0::numeric)"));
    assert_eq!(constraint(16421, true).as_deref(), Some("NOT NULL name"));
    assert_eq!(view_definition(&catalog, Oid(16410)).as_deref(), Some(" SELECT id FROM item;"));
    assert_eq!(column_default(&catalog, Oid(16400), 2).as_deref(), Some("'x'::character varying"));
    assert_eq!(role_name(&catalog, BOOTSTRAP_ROLE), "postgres");
    assert_eq!(role_name(&catalog, Oid(99)), "unknown (OID=99)");
}

#[test]
fn comments_of_users_and_of_the_system() {
    let catalog = sample();
    assert_eq!(comment(&catalog, Oid(16400), Some("pg_class")).as_deref(), Some("things for sale"));
    assert_eq!(column_comment(&catalog, Oid(16400), 2).as_deref(), Some("what it is called"));
    assert_eq!(comment(&catalog, Oid(2200), Some("pg_namespace")).as_deref(), Some("standard public schema"));
    assert_eq!(
        shared_comment(&catalog, Oid(5), "pg_database").as_deref(),
        Some("default administrative connection database")
    );
    assert_eq!(comment(&catalog, Oid(16400), Some("nonsense")), None);
}

#[test]
fn expressions_as_text() {
    assert!(
        is_call("lower(name)")
            && is_call("public.\"F\"(a, (b))")
            && !is_call("f(a) + f(b)")
            && !is_call("(a)")
    );
    assert!(is_parenthesized("((a) OR (b))") && !is_parenthesized("(a) OR (b)"));
    assert_eq!(expression_name("(a + b)"), "expr");
    assert_eq!(expression_name("lower((name)::text)"), "lower");
}

#[test]
fn privileges_follow_from_ownership() {
    let catalog = sample();
    let table = PrivilegeTarget::Table(Oid(16400));
    let select = parse_privileges(table, "select").expect("a privilege");
    assert_eq!(has_privileges(&catalog, BOOTSTRAP_ROLE, table, &select), Some(true));
    assert_eq!(has_privileges(&catalog, Oid(16390), table, &select), Some(false));
    assert_eq!(has_privileges(&catalog, Oid(16390), PrivilegeTarget::Table(Oid(1259)), &select), Some(true));
    assert_eq!(has_privileges(&catalog, Oid(16390), PrivilegeTarget::Table(Oid(4)), &select), None);
    let error = parse_privileges(table, "SELECT, FLY").expect_err("no such privilege");
    assert!(error.to_string().contains("unrecognized privilege type: \"FLY\""), "{error}");
}
