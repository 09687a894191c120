//! `kill -9` under load: what was acknowledged is there after the restart, and the sums agree.
//!
//! Clients run bank transfers that also write a history row with a number of their own. A number goes into the
//! ledger when its COMMIT is acknowledged. After each kill the ledger is compared with the history.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Semaphore;
use tokio_postgres::Client;

use crate::server::Server;

const CLIENTS: i64 = 16;
const ACCOUNTS: i64 = 50;
/// Transactions acknowledged in a round before the server is killed amid the next ones.
const COMMITS_BEFORE_KILL: u32 = 300;
/// Rounds in the ordinary test run; `SHARDFORGE_CRASH_ROUNDS` asks for more.
const ROUNDS: usize = 4;

async fn transfer(client: &mut Client, number: i64) -> Result<(), tokio_postgres::Error> {
    let (account, delta) = (number * 7919 % ACCOUNTS, number % 1000 - 500);
    let transaction = client.transaction().await?;
    transaction
        .execute("UPDATE account SET balance = balance + $1 WHERE id = $2", &[&delta, &account])
        .await?;
    transaction.execute("UPDATE branch SET balance = balance + $1 WHERE id = 1", &[&delta]).await?;
    transaction
        .execute(
            "INSERT INTO history(number, account, delta) VALUES ($1, $2, $3)",
            &[&number, &account, &delta],
        )
        .await?;
    transaction.commit().await
}

async fn check(server: &Server, acknowledged: &[i64]) {
    let client = server.connect().await;
    let rows = client.query("SELECT number FROM history", &[]).await.expect("history is there");
    let found: HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found.len(), rows.len(), "a transaction was applied twice");
    let lost: Vec<i64> = acknowledged.iter().copied().filter(|number| !found.contains(number)).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged transactions are lost, {:?} among them",
        lost.len(),
        lost.first()
    );
    let sums = client
        .query_one(
            "SELECT (SELECT sum(balance) FROM account)::int8, (SELECT sum(balance) FROM branch)::int8,
                    (SELECT coalesce(sum(delta), 0) FROM history)::int8",
            &[],
        )
        .await
        .expect("sums");
    let sums: [i64; 3] = [sums.get(0), sums.get(1), sums.get(2)];
    assert!(sums[0] == sums[1] && sums[1] == sums[2], "the sums differ: {sums:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_transactions_survive_kill_9() {
    let rounds = std::env::var("SHARDFORGE_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    server
        .connect()
        .await
        .batch_execute(&format!(
            "CREATE TABLE account (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE branch (id int8 PRIMARY KEY, balance int8 NOT NULL);
             CREATE TABLE history (number int8, account int8, delta int8);
             INSERT INTO account SELECT i, 0 FROM generate_series(0, {ACCOUNTS} - 1) i;
             INSERT INTO branch VALUES (1, 0)",
        ))
        .await
        .expect("the tables");
    let mut acknowledged = Vec::new();
    let next = Arc::new(AtomicI64::new(1));
    for _ in 0..rounds {
        let mut clients = Vec::new();
        let committed = Arc::new(Semaphore::new(0));
        for _ in 0..CLIENTS {
            let mut client = server.connect().await;
            let next = next.clone();
            let committed = committed.clone();
            clients.push(tokio::spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match transfer(&mut client, number).await {
                        Ok(()) => {
                            done.push(number);
                            committed.add_permits(1);
                        }
                        Err(_) => return done,
                    }
                }
            }));
        }
        let _loaded = committed.acquire_many(COMMITS_BEFORE_KILL).await.expect("the semaphore stays open");
        server.kill();
        for client in clients {
            acknowledged.extend(client.await.expect("a client"));
        }
        server = Server::start(directory.path());
        check(&server, &acknowledged).await;
    }
    assert!(acknowledged.len() >= rounds * COMMITS_BEFORE_KILL as usize);
}
