//! Descriptors: what the catalog stores of each object.
//!
//! A descriptor is one row of the key-value store, encoded with bincode behind a version byte
//! ([`super::store`]). It is immutable once read and shared by `Arc`; a change makes a new one with the
//! next version. Expressions (defaults, checks, index expressions, view queries) are kept as SQL text
//! in PostgreSQL's deparsed form and bound again when they are needed, so that a descriptor never
//! depends on the layout of the binder's trees.

use serde::{Deserialize, Serialize};
use shardforge_types::Oid;

/// Identifies where an index (or a table's rows) is stored: the first bytes of its keys. A rewrite or
/// TRUNCATE gives a relation a fresh one, as PostgreSQL's relfilenode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StorageId(pub u32);

/// Over how many hash buckets the keys of a table or an index are spread. With one they lie in the order of their
/// columns alone; with more each begins with the number of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Buckets(u16);

impl Buckets {
    /// Not spread.
    pub const ONE: Buckets = Buckets(1);
    /// What a key has room for, in its one byte.
    pub const MAX: u16 = 256;

    /// So many; `None` for a number that there cannot be.
    pub fn new(count: u16) -> Option<Buckets> {
        (1..=Self::MAX).contains(&count).then_some(Buckets(count))
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.0
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Buckets::ONE
    }
}

impl TryFrom<u16> for Buckets {
    type Error = &'static str;

    fn try_from(count: u16) -> Result<Self, Self::Error> {
        Buckets::new(count).ok_or("no number of buckets")
    }
}

impl From<Buckets> for u16 {
    fn from(buckets: Buckets) -> u16 {
        buckets.0
    }
}

/// A database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseDesc {
    /// Oid.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Owning role.
    pub owner: Oid,
    /// `datallowconn`.
    pub allow_connections: bool,
    /// `datistemplate`.
    pub is_template: bool,
}

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleDesc {
    /// Oid.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// SCRAM-SHA-256 verifier in PostgreSQL's text form, if the role has a password.
    pub password: Option<String>,
    /// Attributes as in `pg_authid`.
    pub superuser: bool,
    /// INHERIT.
    pub inherit: bool,
    /// CREATEROLE.
    pub create_role: bool,
    /// CREATEDB.
    pub create_db: bool,
    /// LOGIN.
    pub login: bool,
    /// REPLICATION.
    pub replication: bool,
    /// BYPASSRLS.
    pub bypass_rls: bool,
    /// CONNECTION LIMIT; -1 for none.
    pub connection_limit: i32,
    /// Roles that this role is a member of.
    pub member_of: Vec<Oid>,
    /// VALID UNTIL, microseconds since 2000-01-01.
    pub valid_until: Option<i64>,
}

/// A schema.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SchemaDesc {
    /// Oid.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Oid,
}

/// Any object with a row in `pg_class`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RelationDesc {
    /// A table, with its indexes and constraints.
    Table(TableDesc),
    /// A view.
    View(ViewDesc),
    /// A sequence.
    Sequence(SequenceDesc),
}

/// A table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableDesc {
    /// Oid.
    pub oid: Oid,
    /// Oid of its row type in `pg_type`.
    pub row_type: Oid,
    /// Oid of the array over its row type.
    pub array_type: Oid,
    /// Schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Oid,
    /// Grows by one with every change of this descriptor.
    pub version: u64,
    /// Permanent, temporary or unlogged.
    pub persistence: Persistence,
    /// Every column ever made, dropped ones included: attribute number = position + 1.
    pub columns: Vec<ColumnDesc>,
    /// Where the rows are.
    pub storage: StorageId,
    /// What a row's key consists of.
    pub key: TableKey,
    /// All indexes; the primary key's comes first, if there is one. When `key` is
    /// [`TableKey::Primary`] the first one has no storage of its own: the rows are stored by it.
    pub indexes: Vec<IndexDesc>,
    /// CHECK constraints.
    pub checks: Vec<CheckDesc>,
    /// FOREIGN KEY constraints of this, the referencing, table.
    pub foreign_keys: Vec<ForeignKeyDesc>,
    /// Storage parameters of WITH (...), as written.
    pub options: Vec<(String, String)>,
    /// Over how many buckets the rows are spread. Stored in the extension of a catalog row ([`super::change`]).
    #[serde(skip)]
    pub buckets: Buckets,
}

/// `relpersistence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Persistence {
    /// An ordinary table.
    Permanent,
    /// UNLOGGED: stored as an ordinary one.
    Unlogged,
    /// TEMPORARY: seen by its session alone.
    Temporary,
}

/// What a row's key in the key-value store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKey {
    /// A hidden 8-byte row id, ascending in insertion order.
    RowId,
    /// The primary key's columns, `indexes[0]`.
    Primary,
}

/// A column of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ColumnDesc {
    /// Name; of a dropped column PostgreSQL's placeholder name.
    pub name: String,
    /// Type oid.
    pub ty: Oid,
    /// Type modifier.
    pub typmod: i32,
    /// Collation oid, 0 if none.
    pub collation: Oid,
    /// Dropped.
    pub dropped: bool,
    /// NOT NULL, with the oid and name of its constraint (PostgreSQL 18 has them in `pg_constraint`).
    pub not_null: Option<NotNull>,
    /// DEFAULT, or the expression of a generated column, as SQL.
    pub default: Option<DefaultDesc>,
    /// Value for rows stored before the column was added, encoded as a one-column row.
    pub missing: Option<Vec<u8>>,
    /// GENERATED ... AS IDENTITY.
    pub identity: Option<Identity>,
    /// GENERATED ALWAYS AS (expr) STORED: `default` is the expression.
    pub generated: bool,
}

/// A NOT NULL constraint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotNull {
    /// Oid in `pg_constraint`.
    pub oid: Oid,
    /// Name.
    pub name: String,
}

/// A default.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DefaultDesc {
    /// Oid in `pg_attrdef`.
    pub oid: Oid,
    /// SQL text in deparsed form.
    pub sql: String,
}

/// GENERATED ... AS IDENTITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// ALWAYS rather than BY DEFAULT.
    pub always: bool,
    /// The sequence behind it.
    pub sequence: Oid,
}

/// An index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IndexDesc {
    /// Oid in `pg_class`.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// Where its entries are; of a clustering primary key the same as the table's.
    pub storage: StorageId,
    /// Key columns.
    pub columns: Vec<IndexColumn>,
    /// INCLUDE columns: attribute numbers.
    pub include: Vec<i16>,
    /// UNIQUE.
    pub unique: bool,
    /// NULLS NOT DISTINCT.
    pub nulls_not_distinct: bool,
    /// PRIMARY KEY.
    pub primary: bool,
    /// Oid in `pg_constraint` if a constraint made it.
    pub constraint: Option<Oid>,
    /// The constraint is DEFERRABLE: uniqueness is not looked at while rows are written, but afterwards.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub initially_deferred: bool,
    /// WHERE of a partial index, as SQL.
    pub predicate: Option<String>,
    /// What is done with it, while it is made or dropped concurrently.
    pub state: IndexState,
    /// The table is CLUSTERed on it.
    pub clustered: bool,
    /// Over how many buckets its entries are spread; of a clustering primary key the same as the table's. Stored in the
    /// extension of a catalog row ([`super::change`]).
    #[serde(skip)]
    pub buckets: Buckets,
    /// Storage parameters of WITH (...), as written. Stored as `buckets` are.
    #[serde(skip)]
    pub options: Vec<(String, String)>,
}

/// What is done with an index. At any time sessions work with at most two states that follow one another: whoever
/// changes it waits for those that still work with the one before (`ddl/concurrently.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexState {
    /// Writers remove entries of rows that go, and add none.
    DeleteOnly,
    /// Writers keep it up, and uniqueness holds for what they write; nobody reads it: it may lack entries.
    WriteOnly,
    /// It has an entry for every row.
    Public,
}

/// A key column of an index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IndexColumn {
    /// What is indexed.
    pub key: IndexKey,
    /// Type of the key.
    pub ty: Oid,
    /// DESC.
    pub desc: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

/// What an index column indexes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexKey {
    /// A column, by attribute number.
    Column(i16),
    /// An expression, as SQL.
    Expression(String),
}

/// A CHECK constraint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckDesc {
    /// Oid in `pg_constraint`.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// SQL text in deparsed form.
    pub sql: String,
    /// False for NOT VALID.
    pub validated: bool,
}

/// A FOREIGN KEY constraint. It is kept with the referencing table; who references a table is told by
/// [`super::CatalogSnapshot::referencing`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForeignKeyDesc {
    /// Oid in `pg_constraint`.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// The referencing columns: attribute numbers.
    pub columns: Vec<i16>,
    /// The referenced table; may be the same one.
    pub ref_table: Oid,
    /// The referenced columns, one for each of `columns`.
    pub ref_columns: Vec<i16>,
    /// The unique index of the referenced table that makes them a key.
    pub ref_index: Oid,
    /// MATCH FULL rather than SIMPLE.
    pub match_full: bool,
    /// ON UPDATE.
    pub on_update: ReferentialAction,
    /// ON DELETE.
    pub on_delete: ReferentialAction,
    /// `ON DELETE SET NULL (columns)`, or SET DEFAULT: attribute numbers; empty: all of `columns`.
    pub on_delete_columns: Vec<i16>,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub initially_deferred: bool,
    /// False for NOT ENFORCED.
    pub enforced: bool,
    /// False for NOT VALID, until VALIDATE CONSTRAINT.
    pub validated: bool,
}

/// What happens to referencing rows when the row that they reference goes, or gets another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// NO ACTION: there must be none at the end of the statement, or of the transaction.
    NoAction,
    /// RESTRICT: as NO ACTION, but another row that takes over the key does not help.
    Restrict,
    /// CASCADE: they go too, or get the new key.
    Cascade,
    /// SET NULL.
    SetNull,
    /// SET DEFAULT.
    SetDefault,
}

/// A view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewDesc {
    /// Oid.
    pub oid: Oid,
    /// Oid of its row type.
    pub row_type: Oid,
    /// Schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Oid,
    /// See [`TableDesc::version`].
    pub version: u64,
    /// Output columns: name, type, typmod, collation.
    pub columns: Vec<(String, Oid, i32, Oid)>,
    /// The query as SQL.
    pub sql: String,
    /// The schemas in which the query's unqualified names are looked for: the search path at its creation.
    pub search_path: Vec<Oid>,
    /// Relations that the query reads.
    pub depends_on: Vec<Oid>,
}

/// A sequence. Its counter lives outside transactions, in `shardforge_kv`, under its oid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceDesc {
    /// Oid.
    pub oid: Oid,
    /// Schema.
    pub schema: Oid,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Oid,
    /// See [`TableDesc::version`].
    pub version: u64,
    /// Grows with RESTART and ALTER: names the counter.
    pub generation: u32,
    /// int2, int4 or int8.
    pub ty: Oid,
    /// START.
    pub start: i64,
    /// INCREMENT.
    pub increment: i64,
    /// MINVALUE.
    pub min: i64,
    /// MAXVALUE.
    pub max: i64,
    /// CACHE.
    pub cache: i64,
    /// CYCLE.
    pub cycle: bool,
    /// OWNED BY table, attribute; `true` if internal (identity).
    pub owned_by: Option<(Oid, i16, bool)>,
}

/// What ANALYZE found out about a table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableStats {
    /// Rows.
    pub rows: f64,
    /// Bytes of keys and values.
    pub bytes: f64,
    /// Per attribute number.
    pub columns: Vec<ColumnStats>,
}

/// What ANALYZE found out about a column.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ColumnStats {
    /// Attribute number.
    pub attnum: i16,
    /// Share of NULLs, 0 to 1.
    pub null_frac: f32,
    /// Average width in bytes.
    pub avg_width: i32,
    /// As in `pg_stats`: positive a count, negative a share of the rows.
    pub n_distinct: f32,
    /// Most common values (text form) with their frequencies.
    pub most_common: Vec<(String, f32)>,
    /// Equi-depth histogram bounds (text form).
    pub histogram: Vec<String>,
    /// Correlation of physical and logical order, -1 to 1.
    pub correlation: f32,
}

impl TableDesc {
    /// Live columns with their attribute numbers.
    pub fn live_columns(&self) -> impl Iterator<Item = (i16, &ColumnDesc)> {
        self.columns.iter().enumerate().filter(|(_, c)| !c.dropped).map(|(i, c)| (i as i16 + 1, c))
    }

    /// The column of an attribute number.
    pub fn column(&self, attnum: i16) -> &ColumnDesc {
        &self.columns[attnum as usize - 1]
    }

    /// The live column of a name.
    pub fn column_by_name(&self, name: &str) -> Option<(i16, &ColumnDesc)> {
        self.live_columns().find(|(_, c)| c.name == name)
    }

    /// The primary key's index.
    pub fn primary_key(&self) -> Option<&IndexDesc> {
        self.indexes.first().filter(|index| index.primary)
    }

    /// The foreign key of a constraint's oid.
    pub fn foreign_key(&self, constraint: Oid) -> Option<&ForeignKeyDesc> {
        self.foreign_keys.iter().find(|fk| fk.oid == constraint)
    }

    /// Whether the rows or an index lie in several buckets.
    pub fn is_spread(&self) -> bool {
        self.buckets != Buckets::ONE || self.indexes.iter().any(|index| index.buckets != Buckets::ONE)
    }

    /// Indexes with storage of their own: what writes must keep up beside the rows.
    pub fn secondary_indexes(&self) -> impl Iterator<Item = &IndexDesc> {
        let clustered = self.key == TableKey::Primary;
        self.indexes.iter().filter(move |index| !(clustered && index.primary))
    }
}

impl RelationDesc {
    /// Oid in `pg_class`.
    pub fn oid(&self) -> Oid {
        match self {
            RelationDesc::Table(t) => t.oid,
            RelationDesc::View(v) => v.oid,
            RelationDesc::Sequence(s) => s.oid,
        }
    }

    /// Schema.
    pub fn schema(&self) -> Oid {
        match self {
            RelationDesc::Table(t) => t.schema,
            RelationDesc::View(v) => v.schema,
            RelationDesc::Sequence(s) => s.schema,
        }
    }

    /// Name.
    pub fn name(&self) -> &str {
        match self {
            RelationDesc::Table(t) => &t.name,
            RelationDesc::View(v) => &v.name,
            RelationDesc::Sequence(s) => &s.name,
        }
    }

    /// See [`TableDesc::version`].
    pub fn version(&self) -> u64 {
        match self {
            RelationDesc::Table(t) => t.version,
            RelationDesc::View(v) => v.version,
            RelationDesc::Sequence(s) => s.version,
        }
    }
}

impl ForeignKeyDesc {
    /// The action on a row that is deleted, or updated.
    pub fn action(&self, on_delete: bool) -> ReferentialAction {
        if on_delete { self.on_delete } else { self.on_update }
    }

    /// The columns that SET NULL or SET DEFAULT changes.
    pub fn set_columns(&self, on_delete: bool) -> &[i16] {
        if on_delete && !self.on_delete_columns.is_empty() { &self.on_delete_columns } else { &self.columns }
    }
}

impl ReferentialAction {
    /// Whether it changes the referencing rows, rather than forbid them.
    pub fn changes_rows(self) -> bool {
        matches!(self, Self::Cascade | Self::SetNull | Self::SetDefault)
    }

    /// The letter that `pg_constraint` has for it.
    pub fn letter(self) -> u8 {
        match self {
            Self::NoAction => b'a',
            Self::Restrict => b'r',
            Self::Cascade => b'c',
            Self::SetNull => b'n',
            Self::SetDefault => b'd',
        }
    }
}

impl SequenceDesc {
    /// The name of its counter in the key-value store.
    pub fn counter(&self) -> u64 {
        (u64::from(self.oid.0) << 32) | u64::from(self.generation)
    }
}
