//! What all databases share: databases and roles.

use std::sync::Arc;

use shardforge_types::{Datum, Oid, oid};

use super::rows::{RowBuilder, array};
use super::{Producer, Rows, SystemScan};
use crate::catalog::RoleDesc;
use crate::catalog::well_known::{BOOTSTRAP_ROLE, FIRST_USER_OID};

pub(super) const PRODUCERS: &[(&str, Producer)] = &[
    ("pg_database", pg_database),
    ("pg_authid", pg_authid),
    ("pg_auth_members", pg_auth_members),
    ("pg_roles", pg_roles),
    ("pg_user", pg_user),
    ("pg_shadow", pg_shadow),
    ("pg_group", pg_group),
];

/// The tablespace `pg_default`.
const DEFAULT_TABLESPACE: Oid = Oid(1663);
/// `pg_char_to_encoding('UTF8')`
const UTF8: i32 = 6;

fn pg_database(scan: &SystemScan<'_>, rows: &mut Rows) {
    let mut databases: Vec<_> = scan.catalog.cluster.databases.values().collect();
    databases.sort_unstable_by_key(|d| d.oid);
    let wanted = |oid, name: &str| scan.may_be_oid("oid", oid) && scan.may_be_name("datname", name);
    for database in databases.into_iter().filter(|d| wanted(d.oid, &d.name)) {
        rows.push(|r| {
            r.set("oid", database.oid).set("datname", &database.name).set("datdba", database.owner);
            r.set("encoding", UTF8).set("datlocprovider", b'b').set("datistemplate", database.is_template);
            r.set("datallowconn", database.allow_connections).set("datconnlimit", -1i32);
            r.set("datfrozenxid", Oid(3)).set("datminmxid", Oid(1)).set("dattablespace", DEFAULT_TABLESPACE);
            r.set("datcollate", "C.UTF-8").set("datctype", "C.UTF-8").set("datlocale", "C.UTF-8");
            r.set("datcollversion", "1");
            if database.is_template {
                r.set("datacl", super::acl("{=c/postgres,postgres=CTc/postgres}"));
            }
        });
    }
}

fn roles<'a>(scan: &SystemScan<'a>) -> Vec<&'a RoleDesc> {
    let mut roles: Vec<&RoleDesc> = scan.catalog.cluster.roles.values().map(Arc::as_ref).collect();
    roles.sort_unstable_by_key(|r| r.oid);
    roles
}

/// Roles that every cluster has are rows of the data file, but for the bootstrap superuser.
fn pg_authid(scan: &SystemScan<'_>, rows: &mut Rows) {
    let is_shipped = |oid| oid != BOOTSTRAP_ROLE && oid < FIRST_USER_OID;
    let wanted = |role: &&RoleDesc| {
        !is_shipped(role.oid) && scan.may_be_oid("oid", role.oid) && scan.may_be_name("rolname", &role.name)
    };
    for role in roles(scan).into_iter().filter(wanted) {
        rows.push(|r| {
            r.set("oid", role.oid).set("rolname", &role.name).set("rolsuper", role.superuser);
            r.set("rolinherit", role.inherit)
                .set("rolcreaterole", role.create_role)
                .set("rolcreatedb", role.create_db);
            r.set("rolcanlogin", role.login).set("rolreplication", role.replication);
            r.set("rolbypassrls", role.bypass_rls).set("rolconnlimit", role.connection_limit);
            r.set("rolpassword", role.password.as_ref())
                .set("rolvaliduntil", role.valid_until.map(Datum::Timestamptz));
        });
    }
}

fn pg_auth_members(scan: &SystemScan<'_>, rows: &mut Rows) {
    for member in roles(scan) {
        for role in &member.member_of {
            rows.push(|r| {
                // A membership has no oid of its own here: its two roles identify it.
                r.set("oid", member.oid).set("roleid", *role).set("member", member.oid);
                r.set("grantor", BOOTSTRAP_ROLE)
                    .set("inherit_option", member.inherit)
                    .set("set_option", true);
            });
        }
    }
}

/// Columns that pg_roles, pg_user and pg_shadow take over from pg_authid.
const ROLE_COLUMNS: [&str; 11] = [
    "oid",
    "rolname",
    "rolsuper",
    "rolinherit",
    "rolcreaterole",
    "rolcreatedb",
    "rolcanlogin",
    "rolreplication",
    "rolbypassrls",
    "rolconnlimit",
    "rolvaliduntil",
];

fn pg_roles(scan: &SystemScan<'_>, rows: &mut Rows) {
    let hints: Vec<_> = ["oid", "rolname"]
        .into_iter()
        .filter_map(|c| scan.hint(c).map(|values| (c, values.to_vec())))
        .collect();
    for role in scan.read("pg_authid", &ROLE_COLUMNS, &hints) {
        rows.push(|r| {
            for (column, value) in ROLE_COLUMNS.iter().zip(role) {
                r.set(column, value);
            }
            r.set("rolpassword", "********");
        });
    }
}

fn pg_user(scan: &SystemScan<'_>, rows: &mut Rows) {
    for role in roles(scan).into_iter().filter(|r| r.login) {
        rows.push(|r| {
            user(role, r);
            r.set("passwd", "********");
        });
    }
}

fn pg_shadow(scan: &SystemScan<'_>, rows: &mut Rows) {
    for role in roles(scan).into_iter().filter(|r| r.login) {
        rows.push(|r| {
            user(role, r);
            r.set("passwd", role.password.as_ref());
        });
    }
}

fn user(role: &RoleDesc, r: &mut RowBuilder<'_>) {
    r.set("usename", &role.name).set("usesysid", role.oid).set("usecreatedb", role.create_db);
    r.set("usesuper", role.superuser).set("userepl", role.replication).set("usebypassrls", role.bypass_rls);
    r.set("valuntil", role.valid_until.map(Datum::Timestamptz));
}

fn pg_group(scan: &SystemScan<'_>, rows: &mut Rows) {
    let members = scan.read("pg_auth_members", &["roleid", "member"], &[]);
    for group in scan.read("pg_authid", &["oid", "rolname", "rolcanlogin"], &[]) {
        let [oid, name, Datum::Bool(false)] = &group[..] else { continue };
        let of_group = members.iter().filter(|m| m[0] == *oid).map(|m| m[1].clone());
        rows.push(|r| {
            r.set("groname", name.clone())
                .set("grosysid", oid.clone())
                .set("grolist", array(oid::OID, of_group));
        });
    }
}
