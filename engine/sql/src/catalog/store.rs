//! [`Catalog`]: the published snapshots, and the rows that they are read from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;
use shardforge_kv::{ScanRequest, Store, TxnOptions, Visibility};
use shardforge_types::{Oid, PgResult};

use super::change::{Change, all_rows};
use super::{CatalogSnapshot, Cluster, DatabaseDesc, RoleDesc, SchemaDesc, well_known};
use crate::session::error::from_kv;

/// The catalog of the server: one snapshot a database, replaced whenever DDL commits.
pub struct Catalog {
    published: RwLock<Published>,
    version: AtomicU64,
}

struct Published {
    cluster: Arc<Cluster>,
    databases: HashMap<Oid, Arc<CatalogSnapshot>>,
}

impl Catalog {
    /// Reads the catalog, or makes that of a new cluster.
    ///
    /// # Errors
    /// What the store raises; XX001 if a row is damaged.
    pub async fn open(store: &Store) -> PgResult<Catalog> {
        let mut rows = read_all(store).await?;
        if rows.is_empty() {
            bootstrap(store).await?;
            rows = read_all(store).await?;
        }
        let mut cluster = Cluster::default();
        let mut changes: HashMap<Oid, Vec<Change>> = HashMap::new();
        for (key, value) in &rows {
            let (database, change) = Change::from_row(key, value)?;
            if change.is_cluster_wide() {
                cluster.apply(&change);
            } else {
                changes.entry(database).or_default().push(change);
            }
        }
        let cluster = Arc::new(cluster);
        let mut databases = HashMap::new();
        for oid in cluster.databases.keys() {
            let mut snapshot = CatalogSnapshot::empty(*oid, 1, cluster.clone());
            for change in system_schemas().iter().chain(changes.get(oid).into_iter().flatten()) {
                snapshot.apply(change);
            }
            databases.insert(*oid, Arc::new(snapshot));
        }
        Ok(Catalog { published: RwLock::new(Published { cluster, databases }), version: AtomicU64::new(1) })
    }

    /// Databases and roles.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.published.read().cluster.clone()
    }

    /// The newest snapshot of a database.
    pub fn snapshot(&self, database: Oid) -> Option<Arc<CatalogSnapshot>> {
        self.published.read().databases.get(&database).cloned()
    }

    /// Grows with every publication: tells cheaply whether a snapshot at hand is the newest.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes committed changes visible to all sessions.
    pub fn publish(&self, database: Oid, changes: &[Change]) {
        let mut published = self.published.write();
        let version = self.version.load(Ordering::Relaxed) + 1;
        if changes.iter().any(Change::is_cluster_wide) {
            let mut cluster = Cluster::clone(&published.cluster);
            changes.iter().for_each(|change| cluster.apply(change));
            let cluster = Arc::new(cluster);
            published.databases.retain(|oid, _| cluster.databases.contains_key(oid));
            for oid in cluster.databases.keys() {
                published.databases.entry(*oid).or_insert_with(|| {
                    let mut snapshot = CatalogSnapshot::empty(*oid, version, cluster.clone());
                    new_database_rows().iter().chain(&system_schemas()).for_each(|c| snapshot.apply(c));
                    Arc::new(snapshot)
                });
            }
            for snapshot in published.databases.values_mut() {
                let snapshot = Arc::make_mut(snapshot);
                snapshot.cluster = cluster.clone();
                snapshot.version = version;
            }
            published.cluster = cluster;
        }
        if let Some(snapshot) = published.databases.get_mut(&database) {
            let snapshot = Arc::make_mut(snapshot);
            for change in changes.iter().filter(|change| !change.is_cluster_wide()) {
                snapshot.apply(change);
            }
            snapshot.version = version;
        }
        self.version.store(version, Ordering::Release);
    }
}

async fn read_all(store: &Store) -> PgResult<Vec<(Bytes, Bytes)>> {
    let txn = store.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement();
    let (start, end) = all_rows();
    let mut request = ScanRequest::new(start..end);
    request.limit_rows = 1024;
    request.visibility = Visibility::Statement;
    let mut rows = Vec::new();
    loop {
        let page = txn.scan(request.clone()).await.map_err(from_kv)?;
        rows.extend(page.rows);
        match page.resume {
            Some(resume) => request = request.resumed(resume),
            None => break,
        }
    }
    txn.rollback().await.map_err(from_kv)?;
    Ok(rows)
}

/// What a new cluster holds: the superuser, and PostgreSQL's three databases.
async fn bootstrap(store: &Store) -> PgResult<()> {
    let role = RoleDesc {
        oid: well_known::BOOTSTRAP_ROLE,
        name: "postgres".to_owned(),
        password: None,
        superuser: true,
        inherit: true,
        create_role: true,
        create_db: true,
        login: true,
        replication: true,
        bypass_rls: true,
        connection_limit: -1,
        member_of: Vec::new(),
        valid_until: None,
    };
    let txn = store.begin(TxnOptions::default());
    txn.begin_statement();
    let put = |database: Oid, change: &Change| -> PgResult<()> {
        let (key, value) = change.row(database)?;
        if let Some(value) = value {
            txn.put(key, value);
        }
        Ok(())
    };
    put(Oid(0), &Change::PutRole(role))?;
    for (oid, name, is_template, allow_connections) in [
        (well_known::TEMPLATE1_DATABASE, "template1", true, true),
        (well_known::TEMPLATE0_DATABASE, "template0", true, false),
        (well_known::POSTGRES_DATABASE, "postgres", false, true),
    ] {
        put(
            Oid(0),
            &Change::PutDatabase(DatabaseDesc {
                oid,
                name: name.to_owned(),
                owner: well_known::BOOTSTRAP_ROLE,
                allow_connections,
                is_template,
            }),
        )?;
        for change in new_database_rows() {
            put(oid, &change)?;
        }
    }
    txn.commit().await.map_err(from_kv)?;
    Ok(())
}

/// What a new database holds.
pub fn new_database_rows() -> Vec<Change> {
    vec![Change::PutSchema(SchemaDesc {
        oid: well_known::PUBLIC,
        name: "public".to_owned(),
        owner: Oid(6171), // pg_database_owner
    })]
}

/// Schemas that every database has and that no row is stored for.
fn system_schemas() -> Vec<Change> {
    [
        (well_known::PG_CATALOG, "pg_catalog"),
        (well_known::INFORMATION_SCHEMA, "information_schema"),
        (well_known::PG_TOAST, "pg_toast"),
    ]
    .into_iter()
    .map(|(oid, name)| {
        Change::PutSchema(SchemaDesc { oid, name: name.to_owned(), owner: well_known::BOOTSTRAP_ROLE })
    })
    .collect()
}
