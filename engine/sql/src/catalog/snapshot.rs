//! [`CatalogSnapshot`]: an immutable picture of one database's objects.

use std::sync::Arc;

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::{
    DatabaseDesc, Dependency, IndexDesc, RoleDesc, SchemaDesc, SequenceDesc, TableDesc, TableStats, ViewDesc,
};

/// Objects of the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Databases by oid.
    pub databases: HashMap<Oid, Arc<DatabaseDesc>>,
    /// Roles by oid.
    pub roles: HashMap<Oid, Arc<RoleDesc>>,
}

/// A relation of `pg_class` in a snapshot.
#[derive(Clone, Debug)]
pub enum Relation {
    /// A table.
    Table(Arc<TableDesc>),
    /// An index of a table, by its position in [`TableDesc::indexes`].
    Index(Arc<TableDesc>, usize),
    /// A view.
    View(Arc<ViewDesc>),
    /// A sequence.
    Sequence(Arc<SequenceDesc>),
}

/// The objects of one database at one moment. Cheap to share; a changed copy costs the size of its maps.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    /// Grows with every published change.
    pub version: u64,
    /// The database.
    pub database: Oid,
    /// Databases and roles.
    pub cluster: Arc<Cluster>,
    /// Schemas by oid; pg_catalog and information_schema included.
    pub schemas: HashMap<Oid, Arc<SchemaDesc>>,
    /// Relations by oid, indexes included.
    pub relations: HashMap<Oid, Relation>,
    /// Comments by (catalog oid, object oid, sub-id), as in `pg_description`.
    pub comments: HashMap<(Oid, Oid, i32), String>,
    /// ANALYZE's findings by table.
    pub stats: HashMap<Oid, Arc<TableStats>>,
    names: HashMap<Oid, HashMap<String, Oid>>,
    row_types: HashMap<Oid, Oid>,
    /// Who references a table: (referencing table, constraint), by the referenced table, in the constraints' order.
    referencing: HashMap<Oid, Vec<(Oid, Oid)>>,
}

impl Cluster {
    /// The role of a name.
    pub fn role_by_name(&self, name: &str) -> Option<&Arc<RoleDesc>> {
        self.roles.values().find(|role| role.name == name)
    }

    /// The database of a name.
    pub fn database_by_name(&self, name: &str) -> Option<&Arc<DatabaseDesc>> {
        self.databases.values().find(|database| database.name == name)
    }
}

impl CatalogSnapshot {
    /// A database without objects.
    pub fn empty(database: Oid, version: u64, cluster: Arc<Cluster>) -> CatalogSnapshot {
        CatalogSnapshot { version, database, cluster, ..CatalogSnapshot::default() }
    }

    /// The schema of a name.
    pub fn schema_by_name(&self, name: &str) -> Option<&Arc<SchemaDesc>> {
        self.schemas.values().find(|schema| schema.name == name)
    }

    /// The relation of a name in a schema.
    pub fn relation_by_name(&self, schema: Oid, name: &str) -> Option<&Relation> {
        self.relations.get(self.names.get(&schema)?.get(name)?)
    }

    /// The relation of an oid.
    pub fn relation(&self, oid: Oid) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    /// The table of an oid.
    pub fn table(&self, oid: Oid) -> Option<&Arc<TableDesc>> {
        match self.relations.get(&oid) {
            Some(Relation::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// The table or view whose row type has this oid.
    pub fn relation_of_row_type(&self, row_type: Oid) -> Option<&Relation> {
        self.relations.get(self.row_types.get(&row_type)?)
    }

    /// The foreign keys that reference a table, its own included: referencing table and constraint, oldest first.
    pub fn referencing(&self, table: Oid) -> &[(Oid, Oid)] {
        self.referencing.get(&table).map_or(&[], Vec::as_slice)
    }

    /// Tables of the database, in no particular order.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDesc>> {
        self.relations.values().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            _ => None,
        })
    }

    /// True if every dependency still has the version it was planned with.
    pub fn satisfies(&self, dependencies: &[Dependency]) -> bool {
        dependencies.iter().all(|d| self.relations.get(&d.relation).is_some_and(|r| r.version() == d.version))
    }

    /// Adds or replaces a relation (of a table, its indexes with it).
    pub fn put_relation(&mut self, relation: Relation) {
        self.remove_relation(relation.oid());
        let schema = relation.schema();
        match &relation {
            Relation::Table(table) => {
                for (position, index) in table.indexes.iter().enumerate() {
                    self.relations.insert(index.oid, Relation::Index(table.clone(), position));
                    self.names.entry(schema).or_default().insert(index.name.clone(), index.oid);
                }
                self.row_types.insert(table.row_type, table.oid);
                for fk in &table.foreign_keys {
                    let list = self.referencing.entry(fk.ref_table).or_default();
                    list.push((table.oid, fk.oid));
                    list.sort_unstable_by_key(|(_, constraint)| *constraint);
                }
            }
            Relation::View(view) => {
                self.row_types.insert(view.row_type, view.oid);
            }
            Relation::Sequence(_) => {}
            Relation::Index(..) => unreachable!("indexes are put with their table"),
        }
        self.names.entry(schema).or_default().insert(relation.name().to_owned(), relation.oid());
        self.relations.insert(relation.oid(), relation);
    }

    /// Removes a relation (of a table, its indexes with it).
    pub fn remove_relation(&mut self, oid: Oid) -> Option<Relation> {
        let relation = self.relations.remove(&oid)?;
        let names = self.names.entry(relation.schema()).or_default();
        names.remove(relation.name());
        match &relation {
            Relation::Table(table) => {
                for index in &table.indexes {
                    self.relations.remove(&index.oid);
                    names.remove(&index.name);
                }
                self.row_types.remove(&table.row_type);
                for fk in &table.foreign_keys {
                    if let Some(list) = self.referencing.get_mut(&fk.ref_table) {
                        list.retain(|(_, constraint)| *constraint != fk.oid);
                        if list.is_empty() {
                            self.referencing.remove(&fk.ref_table);
                        }
                    }
                }
            }
            Relation::View(view) => {
                self.row_types.remove(&view.row_type);
            }
            Relation::Index(..) | Relation::Sequence(_) => {}
        }
        Some(relation)
    }
}

impl Relation {
    /// Oid in `pg_class`.
    pub fn oid(&self) -> Oid {
        match self {
            Relation::Table(table) => table.oid,
            Relation::Index(table, i) => table.indexes[*i].oid,
            Relation::View(view) => view.oid,
            Relation::Sequence(sequence) => sequence.oid,
        }
    }

    /// Schema oid.
    pub fn schema(&self) -> Oid {
        match self {
            Relation::Table(table) | Relation::Index(table, _) => table.schema,
            Relation::View(view) => view.schema,
            Relation::Sequence(sequence) => sequence.schema,
        }
    }

    /// Name.
    pub fn name(&self) -> &str {
        match self {
            Relation::Table(table) => &table.name,
            Relation::Index(table, i) => &table.indexes[*i].name,
            Relation::View(view) => &view.name,
            Relation::Sequence(sequence) => &sequence.name,
        }
    }

    /// Owner's oid.
    pub fn owner(&self) -> Oid {
        match self {
            Relation::Table(table) | Relation::Index(table, _) => table.owner,
            Relation::View(view) => view.owner,
            Relation::Sequence(sequence) => sequence.owner,
        }
    }

    /// Version of the descriptor (an index has its table's).
    pub fn version(&self) -> u64 {
        match self {
            Relation::Table(table) | Relation::Index(table, _) => table.version,
            Relation::View(view) => view.version,
            Relation::Sequence(sequence) => sequence.version,
        }
    }

    /// The index, if it is one.
    pub fn index(&self) -> Option<(&Arc<TableDesc>, &IndexDesc)> {
        match self {
            Relation::Index(table, i) => Some((table, &table.indexes[*i])),
            _ => None,
        }
    }
}
