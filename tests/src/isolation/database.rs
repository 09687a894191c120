//! A database of its own for each spec, so that one that fails leaves nothing to the next.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::NoTls;

/// A database that was made for a spec.
pub struct Database {
    server: String,
    name: String,
    dsn: String,
}

impl Database {
    /// Creates one on the server of a DSN of the form `postgresql://user@host:port/database`, perhaps with parameters.
    pub async fn create(server: &str) -> Result<Database, tokio_postgres::Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("isolation_{}_{number}", std::process::id());
        execute(server, &format!("CREATE DATABASE {name}")).await?;
        let end = server.find('?').unwrap_or(server.len());
        let (place, parameters) = server.split_at(end);
        let place = place.rfind('/').map_or(place, |end| &place[..end]);
        let dsn = format!("{place}/{name}{parameters}");
        Ok(Database { server: server.to_owned(), name, dsn })
    }

    /// Where it is.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// Drops it, once its connections have ended.
    pub async fn drop(self) -> Result<(), tokio_postgres::Error> {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

async fn execute(dsn: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(sql).await
}
