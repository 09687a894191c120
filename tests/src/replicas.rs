//! Whether a cluster's replicas are where they ought to be, and hold the same.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::cluster::TestCluster;
use crate::load::Violation;

/// How long replicas may take to be made where they are missing.
const REPLICATED_MAX: Duration = Duration::from_secs(120);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

impl TestCluster {
    /// Waits until every shard has all the replicas that it is to have, and every node is heard of.
    ///
    /// # Errors
    /// When that takes too long; when it cannot be asked for.
    pub async fn replicated(&self) -> Result<(), Violation> {
        if self.count() == 1 {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let client = self.doors().enter(0).await?;
            let facts = client.query("SHOW CLUSTER", &[]).await?;
            let fact = |name: &str| {
                let row = facts.iter().find(|row| row.get::<_, &str>(0) == name);
                row.map(|row| row.get::<_, String>(1)).unwrap_or_default()
            };
            let nodes = self.count().to_string();
            if fact("nodes_alive") == nodes && fact("shards_under_replicated") == "0" {
                return Ok(());
            }
            if begun.elapsed() > REPLICATED_MAX {
                let facts: Vec<(String, String)> = facts.iter().map(|row| (row.get(0), row.get(1))).collect();
                return Err(Violation::Data(format!("not replicated after {REPLICATED_MAX:?}: {facts:?}")));
            }
            sleep(PAUSE).await;
        }
    }
}
