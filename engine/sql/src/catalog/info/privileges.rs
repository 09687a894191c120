//! Privileges: `has_table_privilege` and its kin.
//!
//! Grants are not stored yet, so what a role may do follows from what it is: a superuser may do anything, an owner
//! anything with what it owns, everybody what PostgreSQL grants to PUBLIC from the start.

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use crate::catalog::CatalogSnapshot;
use crate::catalog::well_known::{FIRST_USER_OID, INFORMATION_SCHEMA, PG_CATALOG};

/// What a privilege is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivilegeTarget {
    /// A table, view or a column of one.
    Table(Oid),
    /// A sequence.
    Sequence(Oid),
    /// A schema.
    Schema(Oid),
    /// A database.
    Database(Oid),
    /// A function.
    Function,
    /// A type.
    Type,
    /// A language.
    Language,
    /// A tablespace.
    Tablespace,
}

impl PrivilegeTarget {
    fn known(self) -> &'static [&'static str] {
        match self {
            Self::Table(_) => {
                &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"]
            }
            Self::Sequence(_) => &["USAGE", "SELECT", "UPDATE"],
            Self::Schema(_) => &["CREATE", "USAGE"],
            Self::Database(_) => &["CREATE", "TEMPORARY", "TEMP", "CONNECT"],
            Self::Function => &["EXECUTE"],
            Self::Type | Self::Language => &["USAGE"],
            Self::Tablespace => &["CREATE"],
        }
    }
}

/// Reads a list of privileges, `SELECT, INSERT WITH GRANT OPTION`: names in upper case and whether with grant option.
pub fn parse_privileges(target: PrivilegeTarget, text: &str) -> PgResult<Vec<(&'static str, bool)>> {
    let parse = |item: &str| {
        let upper = item.trim().to_ascii_uppercase();
        let (name, grant) = match upper.strip_suffix(" WITH GRANT OPTION") {
            Some(name) => (name.trim_end(), true),
            None => (upper.as_str(), false),
        };
        let known = target.known().iter().find(|known| **known == name);
        known.map(|known| (*known, grant)).ok_or_else(|| {
            let message = format!("unrecognized privilege type: \"{}\"", item.trim());
            PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })
    };
    text.split(',').map(parse).collect()
}

/// Whether a role has any of the privileges; `None` if the object does not exist.
pub fn has_privileges(
    catalog: &CatalogSnapshot,
    role: Oid,
    target: PrivilegeTarget,
    privileges: &[(&'static str, bool)],
) -> Option<bool> {
    let (owner, public): (Oid, &[&str]) = match target {
        PrivilegeTarget::Table(oid) if oid < FIRST_USER_OID => {
            crate::catalog::builtin::system_relation(oid)?;
            (Oid(0), &["SELECT"])
        }
        PrivilegeTarget::Table(oid) | PrivilegeTarget::Sequence(oid) => (catalog.relation(oid)?.owner(), &[]),
        PrivilegeTarget::Schema(oid) => {
            let open = [PG_CATALOG, INFORMATION_SCHEMA, crate::catalog::well_known::PUBLIC].contains(&oid);
            (catalog.schemas.get(&oid)?.owner, if open { &["USAGE"] } else { &[] })
        }
        PrivilegeTarget::Database(oid) => {
            (catalog.cluster.databases.get(&oid)?.owner, &["CONNECT", "TEMPORARY", "TEMP"])
        }
        PrivilegeTarget::Function => (Oid(0), &["EXECUTE"]),
        PrivilegeTarget::Type | PrivilegeTarget::Language => (Oid(0), &["USAGE"]),
        PrivilegeTarget::Tablespace => (Oid(0), &[]),
    };
    let is_superuser = catalog.cluster.roles.get(&role).is_some_and(|r| r.superuser);
    let everything = is_superuser || is_member(catalog, role, owner);
    Some(everything || privileges.iter().any(|(name, grant)| !grant && public.contains(name)))
}

/// `pg_has_role`: whether a role may act as another, being a member of it at any remove or a superuser.
pub fn has_role(catalog: &CatalogSnapshot, member: Oid, role: Oid) -> bool {
    let is_superuser = catalog.cluster.roles.get(&member).is_some_and(|r| r.superuser);
    is_superuser || is_member(catalog, member, role)
}

/// Whether a role is another or a member of it, at any remove.
fn is_member(catalog: &CatalogSnapshot, role: Oid, of: Oid) -> bool {
    let mut seen = vec![role];
    let mut next = 0;
    while let Some(role) = seen.get(next).copied() {
        if role == of {
            return true;
        }
        for parent in catalog.cluster.roles.get(&role).map_or(&[][..], |r| &r.member_of) {
            if !seen.contains(parent) {
                seen.push(*parent);
            }
        }
        next += 1;
    }
    false
}
