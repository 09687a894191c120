//! The catalog: which objects there are.
//!
//! * [`builtin`]: PostgreSQL's own types, functions, operators and casts, fixed at build time.
//! * [`descriptor`]: what is stored of user objects; `store` keeps them as rows of the key-value store.
//! * [`CatalogSnapshot`]: an immutable picture of one database, shared by all sessions. A transaction
//!   with DDL works on a copy of its own until it commits; then the copy's changes are published.
//! * [`pg_catalog`]: virtual tables that show a snapshot as PostgreSQL's system catalogs.
//!
//! A plan records the relations that it depends on with their versions ([`Dependency`]); it is valid
//! for every snapshot in which these versions are the same.

pub mod builtin;
pub mod change;
pub mod descriptor;
pub mod info;
pub mod pg_catalog;
mod snapshot;
mod store;
mod young;

pub use change::{Change, relation_key};
pub use descriptor::*;
pub use snapshot::{CatalogSnapshot, Cluster, Relation};
pub use store::{Catalog, new_database_rows};
pub use young::YoungIndexes;

use shardforge_types::Oid;

/// A relation that a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its oid.
    pub relation: Oid,
    /// The version planned with.
    pub version: u64,
}

/// Well-known oids.
pub mod well_known {
    use shardforge_types::Oid;

    /// Schema pg_catalog.
    pub const PG_CATALOG: Oid = Oid(11);
    /// Schema public.
    pub const PUBLIC: Oid = Oid(2200);
    /// Schema information_schema, as in `data/catalog/pg_namespace.tsv`.
    pub const INFORMATION_SCHEMA: Oid = Oid(12421);
    /// Schema pg_toast.
    pub const PG_TOAST: Oid = Oid(99);
    /// The bootstrap superuser.
    pub const BOOTSTRAP_ROLE: Oid = Oid(10);
    /// Database postgres.
    pub const POSTGRES_DATABASE: Oid = Oid(5);
    /// Database template1.
    pub const TEMPLATE1_DATABASE: Oid = Oid(1);
    /// Database template0.
    pub const TEMPLATE0_DATABASE: Oid = Oid(4);
    /// First oid for user objects.
    pub const FIRST_USER_OID: Oid = Oid(16384);
}
