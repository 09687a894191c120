//! COMMENT ON.

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::{names, unsupported};
use crate::catalog::{Change, Relation};
use crate::parse::ast::{CommentStmt, ObjectType, RangeVar};
use crate::session::PgSession;

const PG_CLASS: Oid = Oid(1259);
const PG_NAMESPACE: Oid = Oid(2615);
const PG_DATABASE: Oid = Oid(1262);
const PG_CONSTRAINT: Oid = Oid(2606);

/// Comments on one relation come one after the other. An index stands for itself, not for its table.
fn lock_mode(relation: &Relation) -> ObjectLockMode {
    match relation {
        Relation::Index(..) => ObjectLockMode::AccessShare,
        _ => ObjectLockMode::ShareUpdateExclusive,
    }
}

/// COMMENT ON.
///
/// # Errors
/// Whatever it raises.
pub async fn comment(session: &mut PgSession, stmt: &CommentStmt) -> PgResult<()> {
    if stmt.security_label.is_some() {
        return Err(unsupported("SECURITY LABEL"));
    }
    let object = &stmt.object;
    let (class, oid, sub_id) = match object.kind {
        ObjectType::Table | ObjectType::View | ObjectType::Index | ObjectType::Sequence => {
            let range = RangeVar::from_names(&object.names, object.pos)?;
            (PG_CLASS, session.lock_relation_by_name(&range, &lock_mode).await?.oid(), 0)
        }
        ObjectType::Column => {
            let Some((column, table)) = object.names.split_last() else {
                return Err(PgError::new(SqlState::SYNTAX_ERROR, "column name must be qualified"));
            };
            let range = RangeVar::from_names(table, object.pos)?;
            let relation = session.lock_relation_by_name(&range, &lock_mode).await?;
            let attnum = match &relation {
                Relation::Table(table) => table.column_by_name(column).map(|(attnum, _)| attnum),
                Relation::View(view) => {
                    view.columns.iter().position(|(name, ..)| **name == **column).map(|i| i as i16 + 1)
                }
                _ => None,
            };
            let attnum = attnum.ok_or_else(|| {
                PgError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{column}\" of relation \"{}\" does not exist", relation.name()),
                )
            })?;
            (PG_CLASS, relation.oid(), i32::from(attnum))
        }
        ObjectType::Schema => {
            let catalog = session.catalog();
            (PG_NAMESPACE, names::schema_by_name(&catalog, &object.names.join("."))?, 0)
        }
        ObjectType::Database => {
            let catalog = session.catalog();
            let name = object.names.join(".");
            let database = catalog.cluster.database_by_name(&name).ok_or_else(|| {
                PgError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
            })?;
            (PG_DATABASE, database.oid, 0)
        }
        ObjectType::TableConstraint => {
            let table_names = object.of.as_ref().ok_or_else(|| unsupported("this COMMENT"))?;
            let range = RangeVar::from_names(table_names, object.pos)?;
            let table = session.lock_table_by_name(&range, ObjectLockMode::AccessShare).await?;
            let name = object.names.join(".");
            let oid = table
                .checks
                .iter()
                .find(|check| check.name == name)
                .map(|check| check.oid)
                .or_else(|| table.indexes.iter().find(|i| i.name == name).and_then(|i| i.constraint))
                .or_else(|| {
                    let constraints = table.columns.iter().filter_map(|column| column.not_null.as_ref());
                    constraints.into_iter().find(|c| c.name == name).map(|c| c.oid)
                })
                .ok_or_else(|| {
                    PgError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", table.name),
                    )
                })?;
            (PG_CONSTRAINT, oid, 0)
        }
        _ => return Err(unsupported("COMMENT on this kind of object")),
    };
    let text = stmt.comment.as_ref().map(ToString::to_string).filter(|text| !text.is_empty());
    session.record(Change::Comment { class, object: oid, sub_id, text })
}
