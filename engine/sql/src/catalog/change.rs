//! Changes of the catalog: what DDL produces, what is stored, what snapshots are made of.
//!
//! DDL never edits a snapshot in place. It records [`Change`]s in its transaction; each is written as a
//! row of the key-value store at once (and so commits or rolls back with the transaction's data), and
//! applied to the transaction's own copy of the snapshot. At commit the same changes are applied to the
//! newest published snapshot.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use shardforge_types::{Oid, PgError, PgResult};

use super::{
    Buckets, CatalogSnapshot, Cluster, DatabaseDesc, Relation, RelationDesc, RoleDesc, SchemaDesc, TableDesc,
    TableStats,
};

/// First byte of every catalog key; user data follows at [`crate::exec::DATA_TAG`].
pub const CATALOG_TAG: u8 = 0x08;
/// First byte of the keys that DDL locks to keep names unique. They never hold a value.
pub const NAME_TAG: u8 = 0x09;

/// 2: tables have foreign keys, indexes may be deferrable. 3: indexes have states. 4: one may
/// be what its table is clustered on.
const FORMAT_VERSION: u8 = 4;
/// 5: as 4, and behind it what a table has beyond that (`Extension`). Tables without anything of it are written as 4.
const EXTENDED_VERSION: u8 = 5;

/// One change of the catalog.
#[derive(Clone, Debug)]
pub enum Change {
    /// Makes or replaces a table, view or sequence.
    PutRelation(RelationDesc),
    /// Drops one.
    DropRelation(Oid),
    /// Makes or replaces a schema.
    PutSchema(SchemaDesc),
    /// Drops one.
    DropSchema(Oid),
    /// Makes or replaces a role.
    PutRole(RoleDesc),
    /// Drops one.
    DropRole(Oid),
    /// Makes or replaces a database.
    PutDatabase(DatabaseDesc),
    /// Drops one.
    DropDatabase(Oid),
    /// Sets a comment (`None`: removes it).
    Comment {
        /// Oid of the catalog that the object is listed in.
        class: Oid,
        /// The object.
        object: Oid,
        /// Column number, or 0.
        sub_id: i32,
        /// The text.
        text: Option<String>,
    },
    /// Replaces a table's statistics.
    Stats(Oid, TableStats),
}

/// What a catalog row holds.
#[derive(Serialize, Deserialize)]
enum Stored {
    Relation(RelationDesc),
    Schema(SchemaDesc),
    Role(RoleDesc),
    Database(DatabaseDesc),
    Comment(Oid, Oid, i32, String),
    Stats(Oid, TableStats),
}

/// What format 5 adds to a table.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Extension {
    buckets: Buckets,
    /// Of each index: its buckets and its storage parameters.
    indexes: Vec<(Buckets, Vec<(String, String)>)>,
}

impl Extension {
    /// What is to be stored of a table; `None` if there is nothing of it.
    fn of(table: &TableDesc) -> Option<Extension> {
        let indexes: Vec<_> =
            table.indexes.iter().map(|index| (index.buckets, index.options.clone())).collect();
        let is_plain = table.buckets == Buckets::ONE && indexes.iter().all(|one| *one == Default::default());
        (!is_plain).then_some(Extension { buckets: table.buckets, indexes })
    }

    fn extend(self, table: &mut TableDesc) {
        table.buckets = self.buckets;
        for (index, (buckets, options)) in table.indexes.iter_mut().zip(self.indexes) {
            (index.buckets, index.options) = (buckets, options);
        }
    }
}

/// Kinds of catalog rows, as in their keys. Cluster-wide kinds come first so that they load first.
#[derive(Clone, Copy)]
enum Kind {
    Database = 1,
    Role = 2,
    Schema = 3,
    Relation = 4,
    Comment = 5,
    Stats = 6,
}

impl Change {
    /// The key of the row that holds the changed object, and its new value; `None` deletes the row.
    pub fn row(&self, database: Oid) -> PgResult<(Bytes, Option<Bytes>)> {
        let shared = Oid(0);
        Ok(match self {
            Change::PutRelation(desc) => (
                key(Kind::Relation, database, &[desc.oid().0]),
                Some(encode(&Stored::Relation(desc.clone()))?),
            ),
            Change::DropRelation(oid) => (key(Kind::Relation, database, &[oid.0]), None),
            Change::PutSchema(desc) => {
                (key(Kind::Schema, database, &[desc.oid.0]), Some(encode(&Stored::Schema(desc.clone()))?))
            }
            Change::DropSchema(oid) => (key(Kind::Schema, database, &[oid.0]), None),
            Change::PutRole(desc) => {
                (key(Kind::Role, shared, &[desc.oid.0]), Some(encode(&Stored::Role(desc.clone()))?))
            }
            Change::DropRole(oid) => (key(Kind::Role, shared, &[oid.0]), None),
            Change::PutDatabase(desc) => {
                (key(Kind::Database, shared, &[desc.oid.0]), Some(encode(&Stored::Database(desc.clone()))?))
            }
            Change::DropDatabase(oid) => (key(Kind::Database, shared, &[oid.0]), None),
            Change::Comment { class, object, sub_id, text } => {
                let key = key(Kind::Comment, database, &[class.0, object.0, *sub_id as u32]);
                let value = match text {
                    Some(text) => Some(encode(&Stored::Comment(*class, *object, *sub_id, text.clone()))?),
                    None => None,
                };
                (key, value)
            }
            Change::Stats(table, stats) => {
                (key(Kind::Stats, database, &[table.0]), Some(encode(&Stored::Stats(*table, stats.clone()))?))
            }
        })
    }

    /// Reads a change back from a stored row: the database it belongs to (0 for cluster-wide objects)
    /// and the change that makes the object.
    pub fn from_row(key: &[u8], value: &[u8]) -> PgResult<(Oid, Change)> {
        let damaged = || PgError::corrupted("catalog row is damaged");
        let database =
            key.get(2..6).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes).ok_or_else(damaged)?;
        let (version, body) = value.split_first().ok_or_else(damaged)?;
        if !matches!(*version, FORMAT_VERSION | EXTENDED_VERSION) {
            return Err(PgError::corrupted(format!("catalog row has unknown format version {version}")));
        }
        let standard = bincode::config::standard();
        let (mut stored, read) =
            bincode::serde::decode_from_slice::<Stored, _>(body, standard).map_err(|_| damaged())?;
        if let (EXTENDED_VERSION, Stored::Relation(RelationDesc::Table(table))) = (*version, &mut stored) {
            let (extension, _) = bincode::serde::decode_from_slice::<Extension, _>(&body[read..], standard)
                .map_err(|_| damaged())?;
            extension.extend(table);
        }
        let change = match stored {
            Stored::Relation(desc) => Change::PutRelation(desc),
            Stored::Schema(desc) => Change::PutSchema(desc),
            Stored::Role(desc) => Change::PutRole(desc),
            Stored::Database(desc) => Change::PutDatabase(desc),
            Stored::Comment(class, object, sub_id, text) => {
                Change::Comment { class, object, sub_id, text: Some(text) }
            }
            Stored::Stats(table, stats) => Change::Stats(table, stats),
        };
        Ok((Oid(database), change))
    }

    /// The change that wrote a row, or deleted it.
    pub fn of_row(key: &[u8], value: Option<&[u8]>) -> PgResult<Change> {
        if let Some(value) = value {
            return Change::from_row(key, value).map(|(_, change)| change);
        }
        let damaged = || PgError::corrupted("the key of a catalog row is damaged");
        let (head, ids) = key.split_at_checked(6).ok_or_else(damaged)?;
        let ids: Vec<u32> =
            ids.chunks_exact(4).map(|id| u32::from_be_bytes([id[0], id[1], id[2], id[3]])).collect();
        let is = |kind: Kind| head[1] == kind as u8;
        match ids[..] {
            [oid] if is(Kind::Relation) => Ok(Change::DropRelation(Oid(oid))),
            [oid] if is(Kind::Schema) => Ok(Change::DropSchema(Oid(oid))),
            [oid] if is(Kind::Role) => Ok(Change::DropRole(Oid(oid))),
            [oid] if is(Kind::Database) => Ok(Change::DropDatabase(Oid(oid))),
            [class, object, sub_id] if is(Kind::Comment) => Ok(Change::Comment {
                class: Oid(class),
                object: Oid(object),
                sub_id: sub_id as i32,
                text: None,
            }),
            _ => Err(damaged()),
        }
    }

    /// True for changes of databases and roles, which all databases see.
    pub fn is_cluster_wide(&self) -> bool {
        matches!(
            self,
            Change::PutRole(_) | Change::DropRole(_) | Change::PutDatabase(_) | Change::DropDatabase(_)
        )
    }
}

/// The range of all catalog rows.
pub fn all_rows() -> (Bytes, Bytes) {
    (Bytes::from_static(&[CATALOG_TAG]), Bytes::from_static(&[CATALOG_TAG + 1]))
}

/// The range of one database's rows of every kind is not contiguous; these are its ranges.
pub fn database_rows(database: Oid) -> Vec<(Bytes, Bytes)> {
    [Kind::Schema, Kind::Relation, Kind::Comment, Kind::Stats]
        .into_iter()
        .map(|kind| (key(kind, database, &[]), key(kind, Oid(database.0 + 1), &[])))
        .collect()
}

/// The key that keeps a name unique within a namespace (a schema's oid, or a catalog's oid for objects
/// without schema) while DDL holds its lock.
pub fn name_lock_key(database: Oid, namespace: Oid, name: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(9 + name.len());
    key.put_u8(NAME_TAG);
    key.put_u32(database.0);
    key.put_u32(namespace.0);
    key.put_slice(name.as_bytes());
    key.freeze()
}

/// The key of a relation's row.
pub fn relation_key(database: Oid, relation: Oid) -> Bytes {
    key(Kind::Relation, database, &[relation.0])
}

fn key(kind: Kind, database: Oid, ids: &[u32]) -> Bytes {
    let mut key = BytesMut::with_capacity(6 + 4 * ids.len());
    key.put_u8(CATALOG_TAG);
    key.put_u8(kind as u8);
    key.put_u32(database.0);
    for id in ids {
        key.put_u32(*id);
    }
    key.freeze()
}

fn encode(stored: &Stored) -> PgResult<Bytes> {
    let failed = |error: bincode::error::EncodeError| {
        PgError::internal(format!("cannot encode a catalog row: {error}"))
    };
    let standard = bincode::config::standard();
    let extension = match stored {
        Stored::Relation(RelationDesc::Table(table)) => Extension::of(table),
        _ => None,
    };
    let mut value = BytesMut::new();
    value.put_u8(if extension.is_some() { EXTENDED_VERSION } else { FORMAT_VERSION });
    value.put_slice(&bincode::serde::encode_to_vec(stored, standard).map_err(failed)?);
    if let Some(extension) = extension {
        value.put_slice(&bincode::serde::encode_to_vec(extension, standard).map_err(failed)?);
    }
    Ok(value.freeze())
}

impl CatalogSnapshot {
    /// Applies a change to this copy.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutRelation(RelationDesc::Table(desc)) => {
                self.put_relation(Relation::Table(Arc::new(desc.clone())));
            }
            Change::PutRelation(RelationDesc::View(desc)) => {
                self.put_relation(Relation::View(Arc::new(desc.clone())));
            }
            Change::PutRelation(RelationDesc::Sequence(desc)) => {
                self.put_relation(Relation::Sequence(Arc::new(desc.clone())));
            }
            Change::DropRelation(oid) => {
                self.remove_relation(*oid);
                self.stats.remove(oid);
            }
            Change::PutSchema(desc) => {
                self.schemas.insert(desc.oid, Arc::new(desc.clone()));
            }
            Change::DropSchema(oid) => {
                self.schemas.remove(oid);
            }
            Change::Comment { class, object, sub_id, text: Some(text) } => {
                self.comments.insert((*class, *object, *sub_id), text.clone());
            }
            Change::Comment { class, object, sub_id, text: None } => {
                self.comments.remove(&(*class, *object, *sub_id));
            }
            Change::Stats(table, stats) => {
                self.stats.insert(*table, Arc::new(stats.clone()));
            }
            Change::PutRole(_) | Change::DropRole(_) | Change::PutDatabase(_) | Change::DropDatabase(_) => {
                let mut cluster = Cluster::clone(&self.cluster);
                cluster.apply(change);
                self.cluster = Arc::new(cluster);
            }
        }
    }
}

impl Cluster {
    /// Applies a cluster-wide change to this copy; others are ignored.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutRole(desc) => {
                self.roles.insert(desc.oid, Arc::new(desc.clone()));
            }
            Change::DropRole(oid) => {
                self.roles.remove(oid);
            }
            Change::PutDatabase(desc) => {
                self.databases.insert(desc.oid, Arc::new(desc.clone()));
            }
            Change::DropDatabase(oid) => {
                self.databases.remove(oid);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::pg_catalog::tests::sample;

    /// A table as it comes back from its row, and the version of the row.
    fn stored(table: &TableDesc) -> (u8, TableDesc) {
        let change = Change::PutRelation(RelationDesc::Table(table.clone()));
        let (key, value) = change.row(Oid(5)).unwrap();
        let value = value.unwrap();
        match Change::from_row(&key, &value).unwrap() {
            (Oid(5), Change::PutRelation(RelationDesc::Table(table))) => (value[0], table),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_spread_needs_the_newer_form() {
        let catalog = sample();
        let mut table = catalog.tables().find(|table| !table.indexes.is_empty()).unwrap().as_ref().clone();
        let before = format!("{table:?}");
        let (version, back) = stored(&table);
        assert_eq!((version, format!("{back:?}")), (FORMAT_VERSION, before));
        table.indexes[0].options = vec![("fillfactor".to_owned(), "70".to_owned())];
        table.buckets = Buckets::new(256).unwrap();
        let (version, back) = stored(&table);
        assert_eq!((version, format!("{back:?}")), (EXTENDED_VERSION, format!("{table:?}")));
    }

    #[test]
    fn damaged_extensions_are_refused() {
        let catalog = sample();
        let mut table = catalog.tables().next().unwrap().as_ref().clone();
        table.buckets = Buckets::new(4).unwrap();
        let (key, value) = Change::PutRelation(RelationDesc::Table(table)).row(Oid(5)).unwrap();
        let value = value.unwrap();
        for length in 0..value.len() {
            assert!(Change::from_row(&key, &value[..length]).is_err(), "{length}");
        }
        // Not spread over any bucket.
        let none = bincode::serde::encode_to_vec((0u16, 0u8), bincode::config::standard()).unwrap();
        let plain =
            Change::PutRelation(RelationDesc::Table(catalog.tables().next().unwrap().as_ref().clone()));
        let plain = plain.row(Oid(5)).unwrap().1.unwrap();
        let damaged = [&[EXTENDED_VERSION][..], &plain[1..], &none].concat();
        assert!(Change::from_row(&key, &damaged).is_err());
    }
}
