//! Whether a cluster's replicas are where they ought to be, and hold the same.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::{Client, Error, Row};

use crate::cluster::TestCluster;
use crate::doors::{Link, Trouble};
use crate::violation::Violation;

/// How long a change may take that moves replicas.
const CHANGE_MAX: Duration = Duration::from_secs(180);

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
        let nodes = self.count().to_string();
        self.until("every shard has its replicas", async |client| {
            let facts = client.query("SHOW CLUSTER", &[]).await?;
            let facts: Vec<(String, String)> = facts.iter().map(|row| (row.get(0), row.get(1))).collect();
            let fact = |name: &str| facts.iter().find(|fact| fact.0 == name).map(|fact| &*fact.1);
            let done = fact("nodes_alive") == Some(&nodes) && fact("shards_under_replicated") == Some("0");
            Ok(if done { Ok(()) } else { Err(format!("{facts:?}")) })
        })
        .await
    }

    /// Waits until each node has about as many replicas as another: they differ by less than `percent` of their mean, or
    /// by one. The most and the fewest then.
    ///
    /// # Errors
    /// When that takes too long; when it cannot be asked for.
    pub async fn balanced(&self, percent: i64) -> Result<(i64, i64), Violation> {
        let members: Vec<i64> = self.members().iter().map(|node| *node as i64 + 1).collect();
        self.until("replicas are spread evenly", async |client| {
            let counts: Vec<i64> = nodes(client)
                .await?
                .into_iter()
                .filter(|node| members.contains(&node.id))
                .map(|node| node.replicas)
                .collect();
            let (most, fewest) = (counts.iter().max().copied(), counts.iter().min().copied());
            let (most, fewest) = (most.unwrap_or_default(), fewest.unwrap_or_default());
            let mean = counts.iter().sum::<i64>() / counts.len().max(1) as i64;
            let even = counts.len() == members.len() && most - fewest <= (2 * mean * percent / 100).max(1);
            Ok(if even { Ok((most, fewest)) } else { Err(format!("{counts:?}")) })
        })
        .await
    }

    /// Waits until all replicas have applied the same, and checks that they hold the same. Nobody is to write meanwhile. How
    /// many there are.
    ///
    /// # Errors
    /// When two of them differ; when they do not come to apply the same; when they cannot be asked for.
    pub async fn replicas_agree(&self) -> Result<usize, Violation> {
        let checked = self.until("replicas have applied the same", async |client| {
            let rows = client.query("SHOW CHECKSUMS", &[]).await?;
            let agree = |row: &Row| row.get::<_, Option<bool>>("agrees");
            let of = |wanted: Option<bool>| -> Vec<String> {
                let rows = rows.iter().filter(|row| agree(row) == wanted);
                rows.map(|row| format!("{row:?}")).collect()
            };
            let (differ, unknown) = (of(Some(false)), of(None));
            Ok(match (differ.as_slice(), unknown.as_slice()) {
                ([], []) => Ok(Ok(rows.len())),
                ([], unknown) => Err(unknown.join(", ")),
                (differ, _) => Ok(Err(differ.join(", "))),
            })
        });
        checked.await?.map_err(|differ| Violation::Data(format!("replicas differ: {differ}")))
    }

    /// Has the others take over what a node holds, waits until it holds nothing, and ends it.
    ///
    /// # Errors
    /// When that takes too long, or is refused.
    pub async fn decommission(&mut self, node: usize) -> Result<(), Violation> {
        let number = node as i64 + 1;
        let order = format!("ALTER NODE {number} DECOMMISSION");
        // What it asks for may have been done when the answer was lost: it is asked for until it is answered.
        self.until("a node is to leave", async |client| {
            client.batch_execute(&order).await?;
            Ok(Ok(()))
        })
        .await?;
        self.until("a node has left", async |client| {
            let nodes = nodes(client).await?;
            let gone = nodes.iter().any(|node| node.id == number && node.state == "gone");
            Ok(if gone { Ok(()) } else { Err(format!("{nodes:?}")) })
        })
        .await?;
        self.retire(node).map_err(Violation::Data)
    }

    /// Asks again and again, whatever node lets a client in, until the answer is good.
    async fn until<T>(
        &self,
        what: &str,
        ask: impl AsyncFn(&Client) -> Result<Result<T, String>, Error>,
    ) -> Result<T, Violation> {
        let begun = Instant::now();
        let mut session: Option<Link> = None;
        let mut last = String::new();
        while begun.elapsed() < CHANGE_MAX {
            let link = match session.take() {
                Some(link) => link,
                None => self.doors().visit(0).await?,
            };
            match ask(&link).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(problem)) => {
                    last = problem;
                    session = Some(link);
                }
                Err(error) if Trouble::of(&error) == Trouble::Wrong => return Err(error.into()),
                Err(error) => last = error.to_string(),
            }
            sleep(PAUSE).await;
        }
        Err(Violation::Data(format!("waited {CHANGE_MAX:?} until {what}: {last}")))
    }
}

/// A line of SHOW NODES.
#[derive(Debug)]
struct NodeLine {
    id: i64,
    state: String,
    replicas: i64,
}

async fn nodes(client: &Client) -> Result<Vec<NodeLine>, Error> {
    let line = |row: &Row| NodeLine {
        id: row.get("node_id"),
        state: row.get("state"),
        replicas: row.get("replicas"),
    };
    Ok(client.query("SHOW NODES", &[]).await?.iter().map(line).collect())
}
