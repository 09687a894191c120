//! Experiment 1: `kvdb` without a write-ahead log, recovered from the raft log.
//!
//! The driver starts a writing process, kills it with SIGKILL at a random moment, opens the data directory again
//! and compares it with the ledger of what the process had acknowledged, again and again on the same directory:
//!
//! ```text
//! cargo run --release -p shardforge-consensus --example crash_ledger [rounds] [directory]
//! ```
//!
//! Each of the writing process's clients sets one new key and its own counter in each command, and prints the
//! counter once the command is acknowledged. What must hold after each crash: every acknowledged key is there
//! with its value; a client's keys are there up to its counter and not past it, for a command is atomic; and
//! at most one command a client is there that was not acknowledged. `docs/decisions/0002-kvdb-without-wal.md`
//! holds the results.

#![allow(clippy::disallowed_methods, reason = "an experiment measures the real clock and real tasks")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardforge_consensus::{Command, DATA_START, Node, NodeOptions, Shard, Storage};
use shardforge_runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: u64 = 16;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "write") {
        return write(Path::new(&arguments[1])).await;
    }
    let rounds: u64 = arguments.first().map_or(Ok(50), |text| text.parse())?;
    let temporary = tempfile::tempdir_in(arguments.get(1).map_or(".", String::as_str))?;
    drive(&temporary.path().join("data"), rounds).await
}

/// The driver: kills, checks, and prints a line a round.
async fn drive(data: &Path, rounds: u64) -> Outcome<()> {
    let runtime = Runtime::current();
    let mut ledger: BTreeMap<u64, u64> = BTreeMap::new();
    let mut unacknowledged = 0;
    let mut slowest_open = Duration::ZERO;
    for round in 1..=rounds {
        let alive = Duration::from_millis(150 + runtime.next_u64() % 1_500);
        let acknowledged = write_and_kill(data, alive, &mut ledger)?;
        let start = Instant::now();
        let node = open(data).await?;
        let opened = start.elapsed();
        slowest_open = slowest_open.max(opened);
        let shard = data_shard(&node)?;
        let more = check(&shard, &mut ledger)?;
        unacknowledged += more;
        println!(
            "round {round:3}: killed after {:4} ms, {acknowledged:6} acknowledged, {more:2} more found, \
             {:8} keys in all, opened in {:4} ms",
            alive.as_millis(),
            ledger.values().sum::<u64>(),
            opened.as_millis(),
        );
        // Now and then the next process begins on a flushed database and a purged log.
        if round % 5 == 0 {
            node.shutdown().await?;
        } else {
            node.halt().await;
        }
        drop(node);
    }
    println!(
        "{rounds} crashes: {} commands acknowledged or found, nothing lost; {unacknowledged} found beyond what was \
         acknowledged; slowest open {} ms",
        ledger.values().sum::<u64>(),
        slowest_open.as_millis()
    );
    Ok(())
}

/// Lets a writing process live for a while; returns how many commands it acknowledged, and notes them.
fn write_and_kill(data: &Path, alive: Duration, ledger: &mut BTreeMap<u64, u64>) -> Outcome<u64> {
    let mut child =
        Process::new(std::env::current_exe()?).arg("write").arg(data).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the child has no stdout")?;
    let reader = std::thread::spawn(move || {
        // What it wrote before it died stays in the pipe; a last line may be cut.
        BufReader::new(output).lines().map_while(Result::ok).collect::<Vec<_>>()
    });
    std::thread::sleep(alive);
    child.kill()?;
    child.wait()?;
    let lines = reader.join().map_err(|_| "the reader panicked")?;
    let mut acknowledged = 0;
    for line in lines {
        let Some(rest) = line.strip_suffix(';') else { continue };
        let (client, counter) = rest.split_once(' ').ok_or_else(|| format!("an odd line: {line}"))?;
        let (client, counter): (u64, u64) = (client.parse()?, counter.parse()?);
        let known = ledger.entry(client).or_default();
        *known = counter.max(*known);
        acknowledged += 1;
    }
    Ok(acknowledged)
}

/// Compares the data with the ledger; returns how many commands are there that were not acknowledged.
fn check(shard: &Shard, ledger: &mut BTreeMap<u64, u64>) -> Outcome<u64> {
    let mut more = 0;
    for client in 0..CLIENTS {
        let acknowledged = ledger.get(&client).copied().unwrap_or(0);
        let counter = read_counter(shard, client)?;
        if counter < acknowledged || counter > acknowledged + 1 {
            return Err(format!(
                "client {client}: {acknowledged} acknowledged, but the counter is {counter}"
            )
            .into());
        }
        for number in 1..=counter {
            let value = shard.read().get(&row_key(client, number))?;
            if value.as_deref() != Some(&row_value(client, number)[..]) {
                return Err(format!("client {client}: row {number} of {counter} is not there").into());
            }
        }
        if shard.read().get(&row_key(client, counter + 1))?.is_some() {
            return Err(format!("client {client}: a row past its counter {counter}").into());
        }
        more += counter - acknowledged;
        ledger.insert(client, counter);
    }
    Ok(more)
}

/// The writing process: it ends by being killed.
async fn write(data: &Path) -> Outcome<()> {
    let node = open(data).await?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let shard = data_shard(&node)?;
                write_client(&shard, client).await
            })
        })
        .collect();
    // Flushes of little data, so that crashes hit them too.
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.flush().await?;
        for client in &clients {
            if client.is_finished() {
                return Err("a client ended".into());
            }
        }
    }
}

async fn write_client(shard: &Shard, client: u64) -> Outcome<()> {
    let mut counter = read_counter(shard, client)?;
    loop {
        counter += 1;
        let puts = vec![
            (row_key(client, counter), Bytes::from(row_value(client, counter))),
            (counter_key(client), Bytes::copy_from_slice(&counter.to_be_bytes())),
        ];
        shard.propose(Command { puts, ..Command::default() }).await?;
        // One write call a line, so that lines of different clients do not mix.
        std::io::stdout().write_all(format!("{client} {counter};\n").as_bytes())?;
    }
}

async fn open(data: &Path) -> Outcome<Arc<Node>> {
    let options = NodeOptions::new(Storage::RocksDb(data.to_owned()));
    Ok(Node::open(options, Runtime::current()).await?)
}

fn data_shard(node: &Node) -> Outcome<Arc<Shard>> {
    Ok(node.shard_for(&[DATA_START]).ok_or("there is no data shard")?)
}

fn read_counter(shard: &Shard, client: u64) -> Outcome<u64> {
    match shard.read().get(&counter_key(client))? {
        Some(value) => Ok(u64::from_be_bytes(value[..].try_into()?)),
        None => Ok(0),
    }
}

fn counter_key(client: u64) -> Bytes {
    Bytes::from([&[DATA_START, 0][..], &client.to_be_bytes()].concat())
}

fn row_key(client: u64, number: u64) -> Bytes {
    Bytes::from([&[DATA_START, 1][..], &client.to_be_bytes(), &number.to_be_bytes()].concat())
}

fn row_value(client: u64, number: u64) -> Vec<u8> {
    format!("row {number} of client {client}, {:0>60}", number * 7919).into_bytes()
}
