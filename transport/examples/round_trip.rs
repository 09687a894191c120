//! What a call between two nodes takes over the loopback: `cargo run --release --workspace
//! --example round_trip [SECONDS]`.
//!
//! Both nodes are in this process, on one runtime with as many threads as there are processors, and the handler
//! answers with what it was sent. A line for each number of concurrent calls and each size, without and with TLS; then
//! what a small call takes while 64 MB are being sent all the time, on a connection of its own and on the same one.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use shardforge_runtime::{Network, NodeId, Traffic};
use shardforge_transport::certificates::{CertificateFiles, NodeKey, create_cluster};
use shardforge_transport::{ClusterId, Credentials, LinkCounts, Security, Transport, TransportOptions};
use tokio::task::{JoinHandle, JoinSet};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse())?;
    tokio::runtime::Runtime::new()?.block_on(measure(Duration::from_secs_f64(seconds)))
}

async fn measure(time: Duration) -> Outcome<()> {
    println!("tls  calls   bytes   calls/s  p50 us  p99 us  calls/batch  processor us/call");
    let folder = std::env::temp_dir().join(format!("round_trip.{}", std::process::id()));
    for tls in [false, true] {
        let cluster = ClusterId::random();
        let securities = if tls {
            with_certificates(&folder, cluster)?
        } else {
            [Security::Plaintext, Security::Plaintext]
        };
        let [first, second] = securities;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let one = Arc::new(Transport::bind(TransportOptions::new(ONE, cluster, first, listen)).await?);
        let two = Transport::bind(TransportOptions::new(TWO, cluster, second, listen)).await?;
        two.serve(Arc::new(|_from, request| async move { Ok(request) }.boxed()));
        one.set_peer(TWO, &two.address().to_string());
        let small = [100, 4_096]
            .into_iter()
            .flat_map(|size| [1, 16, 256].map(|callers| (Traffic::Raft, callers, size)));
        for (traffic, callers, size) in small.chain([(Traffic::Bulk, 1, 8 << 20)]) {
            run(&one, traffic, callers, size, time / 10).await?;
            let tls = if tls { "on" } else { "off" };
            println!("{tls:<4} {callers:>5} {size:>7} {}", run(&one, traffic, callers, size, time).await?);
        }
        for (traffic, whose) in
            [(Traffic::Control, "its own connection"), (Traffic::Bulk, "the snapshot's connection")]
        {
            let snapshots = Task(tokio::spawn(send_snapshots(Arc::clone(&one))));
            println!("  beside snapshots, on {whose}:");
            println!("          1     100 {}", run(&one, traffic, 1, 100, time).await?);
            drop(snapshots);
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends 64 MB, again and again.
async fn send_snapshots(one: Arc<Transport>) {
    let snapshot = Bytes::from(vec![7; 64 << 20]);
    while one.call(TWO, Traffic::Bulk, snapshot.clone()).await.is_ok() {}
}

fn with_certificates(folder: &Path, cluster: ClusterId) -> Outcome<[Security; 2]> {
    let (first, second) = (folder.join("one"), folder.join("two"));
    let authority = create_cluster(&first, cluster, ONE)?;
    let key = NodeKey::generate()?;
    std::fs::create_dir_all(&second)?;
    let certificate = authority.issue(TWO, key.public_key())?;
    key.save(&certificate, authority.certificate(), &CertificateFiles::of(&second))?;
    let open = |folder: &Path, node| Credentials::open(folder, cluster, node).map(Security::Tls);
    Ok([open(&first, ONE)?, open(&second, TWO)?])
}

/// Some callers call for a while, each as soon as its last call was answered; says what came of it.
async fn run(
    one: &Arc<Transport>,
    traffic: Traffic,
    callers: usize,
    size: usize,
    time: Duration,
) -> Outcome<String> {
    let request = Bytes::from(vec![7; size]);
    let (before, processor, began) = (counts(one, traffic), processor_time()?, Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (one, request) = (Arc::clone(one), request.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < time {
                let sent = Instant::now();
                one.call(TWO, traffic, request.clone()).await?;
                times.push(sent.elapsed());
            }
            std::io::Result::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    let (elapsed, processor, after) = (began.elapsed(), processor_time()? - processor, counts(one, traffic));
    times.sort_unstable();
    let calls = times.len() as f64;
    let at = |part: f64| times[((calls - 1.0) * part) as usize].as_micros();
    let batches = (after.batches_out - before.batches_out) as f64;
    Ok(format!(
        "{:>9.0} {:>7} {:>7} {:>12.1} {:>18.1}",
        calls / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        calls / batches,
        processor.as_secs_f64() * 1e6 / calls
    ))
}

fn counts(one: &Transport, traffic: Traffic) -> LinkCounts {
    one.peer(TWO).map_or_else(LinkCounts::default, |peer| peer.link(traffic).counts)
}

/// What this process, both nodes and the callers, has used of the processors.
fn processor_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold spaces; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
