//! Roles.

use std::sync::Arc;

use shardforge_pgwire::ScramVerifier;
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use super::create_table::arg_text;
use super::unsupported;
use crate::catalog::{Change, RoleDesc, well_known};
use crate::parse::ast::{
    AlterRoleStmt, CreateRoleStmt, DefArg, DefElem, DropRoleStmt, GrantRoleStmt, RoleSpec,
};
use crate::session::PgSession;

/// Oid of `pg_authid`, the namespace of role names.
const PG_AUTHID: Oid = Oid(1260);

/// The role that a specification means.
///
/// # Errors
/// 42704.
pub fn find(session: &mut PgSession, role: &RoleSpec) -> PgResult<Arc<RoleDesc>> {
    let catalog = session.catalog();
    let by_oid = |oid: Oid| {
        catalog.cluster.roles.get(&oid).cloned().ok_or_else(|| PgError::internal("the current role is gone"))
    };
    match role {
        RoleSpec::Name(name) => catalog.cluster.role_by_name(name).cloned().ok_or_else(|| {
            PgError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        }),
        RoleSpec::CurrentRole | RoleSpec::CurrentUser => by_oid(session.user),
        RoleSpec::SessionUser => by_oid(session.session_user),
        RoleSpec::Public => Err(PgError::new(SqlState::UNDEFINED_OBJECT, "role \"public\" does not exist")),
    }
}

fn check_privilege(session: &mut PgSession, what: &str) -> PgResult<()> {
    let catalog = session.catalog();
    let allowed =
        catalog.cluster.roles.get(&session.user).is_some_and(|role| role.superuser || role.create_role);
    if allowed {
        return Ok(());
    }
    Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied to {what} role"))
        .detail(format!("Only roles with the CREATEROLE attribute may {what} roles.")))
}

/// CREATE ROLE.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &CreateRoleStmt) -> PgResult<()> {
    check_privilege(session, "create")?;
    let name = stmt.name.to_string();
    if name.starts_with("pg_") {
        return Err(PgError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
            .detail("Role names starting with \"pg_\" are reserved."));
    }
    session.lock_name(PG_AUTHID, &name).await?;
    if session.catalog().cluster.role_by_name(&name).is_some() {
        return Err(PgError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{name}\" already exists")));
    }
    let mut role = RoleDesc {
        oid: session.engine.next_oid().await?,
        name,
        password: None,
        superuser: false,
        inherit: true,
        create_role: false,
        create_db: false,
        login: stmt.is_user,
        replication: false,
        bypass_rls: false,
        connection_limit: -1,
        member_of: Vec::new(),
        valid_until: None,
    };
    apply(session, &mut role, &stmt.options)?;
    session.record(Change::PutRole(role))
}

/// ALTER ROLE.
///
/// # Errors
/// Whatever it raises.
pub async fn alter(session: &mut PgSession, stmt: &AlterRoleStmt) -> PgResult<()> {
    let role = find(session, &stmt.role)?;
    let only_own_password =
        role.oid == session.user && stmt.options.iter().all(|option| &*option.name == "password");
    if !only_own_password {
        check_privilege(session, "alter")?;
    }
    session.lock_name(PG_AUTHID, &role.name).await?;
    let mut changed = RoleDesc::clone(&*find(session, &stmt.role)?);
    if let Some(members) = stmt.options.iter().find(|option| &*option.name == "rolemembers") {
        return change_members(session, changed.oid, members, stmt.drop_members);
    }
    apply(session, &mut changed, &stmt.options)?;
    session.record(Change::PutRole(changed))
}

fn change_members(session: &mut PgSession, group: Oid, members: &DefElem, remove: bool) -> PgResult<()> {
    for member in role_list(members) {
        let mut role = RoleDesc::clone(&*find(session, &member)?);
        role.member_of.retain(|oid| *oid != group);
        if !remove {
            role.member_of.push(group);
        }
        session.record(Change::PutRole(role))?;
    }
    Ok(())
}

fn role_list(option: &DefElem) -> Vec<RoleSpec> {
    match &option.arg {
        Some(DefArg::List(list)) => list
            .iter()
            .filter_map(|arg| match arg {
                DefArg::Role(role) => Some(role.clone()),
                _ => None,
            })
            .collect(),
        Some(DefArg::Role(role)) => vec![role.clone()],
        _ => Vec::new(),
    }
}

fn apply(session: &mut PgSession, role: &mut RoleDesc, options: &[DefElem]) -> PgResult<()> {
    for option in options {
        let flag = !matches!(option.arg, Some(DefArg::Boolean(false)));
        let text = option.arg.as_ref().map(arg_text);
        match &*option.name {
            "superuser" => role.superuser = flag,
            "inherit" => role.inherit = flag,
            "createrole" => role.create_role = flag,
            "createdb" => role.create_db = flag,
            "canlogin" => role.login = flag,
            "isreplication" => role.replication = flag,
            "bypassrls" => role.bypass_rls = flag,
            "connectionlimit" => {
                if let Some(DefArg::Integer(limit)) = option.arg {
                    if limit < -1 {
                        return Err(PgError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("invalid connection limit: {limit}"),
                        ));
                    }
                    role.connection_limit = limit;
                }
            }
            "password" => {
                role.password = match text {
                    None => None,
                    Some(text) if text.is_empty() => {
                        session.notice("empty string is not a valid password, clearing password");
                        None
                    }
                    // A verifier made elsewhere is taken as it is.
                    Some(text) if ScramVerifier::parse(&text).is_some() => Some(text),
                    Some(text) => Some(ScramVerifier::from_password(&text).to_string()),
                };
            }
            "validUntil" => {
                let io = session.settings.parsed(|parsed| parsed.io.clone());
                let value = shardforge_types::input(oid::TIMESTAMPTZ, -1, &text.unwrap_or_default(), &io)?;
                role.valid_until = match value {
                    Datum::Timestamptz(micros) => Some(micros),
                    _ => None,
                };
            }
            "addroleto" => {
                for group in role_list(option) {
                    role.member_of.push(find(session, &group)?.oid);
                }
            }
            "rolemembers" | "adminmembers" => {
                for member in role_list(option) {
                    let mut member = RoleDesc::clone(&*find(session, &member)?);
                    member.member_of.push(role.oid);
                    session.record(Change::PutRole(member))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// DROP ROLE.
///
/// # Errors
/// Whatever it raises; 2BP01 if the role owns something.
pub async fn drop(session: &mut PgSession, stmt: &DropRoleStmt) -> PgResult<()> {
    check_privilege(session, "drop")?;
    for spec in &stmt.roles {
        let role = match find(session, spec) {
            Ok(role) => role,
            Err(error) if stmt.if_exists => {
                session.notice(format!("{}, skipping", error.message));
                continue;
            }
            Err(error) => return Err(error),
        };
        if role.oid == session.user || role.oid == session.session_user {
            return Err(PgError::new(SqlState::OBJECT_IN_USE, "current user cannot be dropped"));
        }
        if role.oid == well_known::BOOTSTRAP_ROLE {
            return Err(PgError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop role {} because it is required by the database system", role.name),
            ));
        }
        session.lock_name(PG_AUTHID, &role.name).await?;
        let catalog = session.catalog();
        let mut owned: Vec<String> = catalog
            .cluster
            .databases
            .values()
            .filter(|database| database.owner == role.oid)
            .map(|database| format!("owner of database {}", database.name))
            .collect();
        owned.extend(
            catalog
                .schemas
                .values()
                .filter(|s| s.owner == role.oid)
                .map(|s| format!("owner of schema {}", s.name)),
        );
        owned.extend(
            catalog
                .tables()
                .filter(|table| table.owner == role.oid)
                .map(|table| format!("owner of table {}", table.name)),
        );
        if !owned.is_empty() {
            owned.sort();
            return Err(PgError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("role \"{}\" cannot be dropped because some objects depend on it", role.name),
            )
            .detail(owned.join("\n")));
        }
        session.record(Change::DropRole(role.oid))?;
    }
    Ok(())
}

/// GRANT role TO role, REVOKE role FROM role.
///
/// # Errors
/// 42704.
pub async fn grant(session: &mut PgSession, stmt: &GrantRoleStmt) -> PgResult<()> {
    check_privilege(session, "grant")?;
    for granted in &stmt.granted {
        let Some(name) = &granted.name else { return Err(unsupported("GRANT of this kind")) };
        let group = find(session, &RoleSpec::Name(name.clone()))?;
        for grantee in &stmt.grantees {
            let mut role = RoleDesc::clone(&*find(session, grantee)?);
            role.member_of.retain(|oid| *oid != group.oid);
            if stmt.is_grant {
                role.member_of.push(group.oid);
            }
            session.record(Change::PutRole(role))?;
        }
    }
    Ok(())
}
