//! CREATE SCHEMA.

use std::sync::Arc;

use shardforge_types::{PgError, PgResult, SqlState};

use super::{role, unsupported};
use crate::catalog::{Change, SchemaDesc};
use crate::parse::ast::{CreateSchemaStmt, Statement};
use crate::session::PgSession;

/// Oid of `pg_namespace`, the namespace of schema names.
const PG_NAMESPACE: shardforge_types::Oid = shardforge_types::Oid(2615);

/// CREATE SCHEMA.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &CreateSchemaStmt, sql: &Arc<str>) -> PgResult<()> {
    let owner = match &stmt.authorization {
        Some(role) => role::find(session, role)?.oid,
        None => session.user,
    };
    let catalog = session.catalog();
    let name = match &stmt.name {
        Some(name) => name.to_string(),
        None => catalog.cluster.roles.get(&owner).map(|role| role.name.clone()).unwrap_or_default(),
    };
    if name.starts_with("pg_") {
        return Err(PgError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    session.lock_name(PG_NAMESPACE, &name).await?;
    if session.catalog().schema_by_name(&name).is_some() {
        if stmt.if_not_exists {
            session.notice(format!("schema \"{name}\" already exists, skipping"));
            return Ok(());
        }
        return Err(PgError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists")));
    }
    let oid = session.engine.next_oid().await?;
    session.record(Change::PutSchema(SchemaDesc { oid, name: name.clone(), owner }))?;
    // Whatever their order in the statement, views and indexes find the tables that it makes.
    let mut elements = stmt.elements.clone();
    elements.sort_by_key(|element| match element {
        Statement::CreateSeq(_) => 0,
        Statement::Create(_) => 1,
        Statement::View(_) => 2,
        _ => 3,
    });
    session.lead_search_path(Some(oid));
    let made = create_elements(session, &name, elements, sql).await;
    session.lead_search_path(None);
    made
}

/// Makes what stands inside CREATE SCHEMA.
async fn create_elements(
    session: &mut PgSession,
    schema: &str,
    elements: Vec<Statement>,
    sql: &Arc<str>,
) -> PgResult<()> {
    for mut element in elements {
        let relation = match &mut element {
            Statement::Create(create) => &mut create.relation,
            Statement::View(view) => &mut view.view,
            Statement::CreateSeq(sequence) => &mut sequence.sequence,
            Statement::Index(index) => &mut index.relation,
            _ => return Err(unsupported("this statement inside CREATE SCHEMA")),
        };
        match &relation.schema {
            None => relation.schema = Some(schema.into()),
            Some(other) if **other == *schema => {}
            Some(other) => {
                let message = format!(
                    "CREATE specifies a schema ({other}) different from the one being created ({schema})"
                );
                return Err(PgError::new(SqlState::INVALID_SCHEMA_DEFINITION, message));
            }
        }
        Box::pin(super::execute(session, &element, sql)).await?;
    }
    Ok(())
}
