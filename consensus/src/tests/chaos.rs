//! Everything at once, from a seed: writers, splits, moves of replicas and leaders, crashes, cut links, slow messages.
//!
//! What must hold: no acknowledged write is lost, whatever is read was written, and replicas are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardforge_runtime::{Runtime, Simulation};

use super::cluster_of_nodes::Cluster;
use super::{get, key, put};
use crate::{Node, Shard, ShardId};

const NODES: usize = 5;
const WRITERS: u64 = 3;
const KEYS: u64 = 30;
const STEPS: usize = 40;
/// How long a writer waits for one write, and a move of replicas for one step.
const PATIENCE: Duration = Duration::from_secs(10);

type Nodes = Arc<Mutex<Vec<Option<Arc<Node>>>>>;

/// What a key may hold: the last acknowledged value, or one of those whose fate is unknown since.
#[derive(Default, Clone)]
struct Expected {
    acknowledged: Option<String>,
    unknown: BTreeSet<String>,
}

fn name(number: u64) -> String {
    format!("{number:02}")
}

/// The shard that holds a key, where it is led.
fn leading(nodes: &Nodes, name: &str) -> Option<Arc<Shard>> {
    let nodes = nodes.lock();
    let shards = nodes.iter().flatten().filter_map(|node| node.shard_for(&key(name)));
    shards.filter(|shard| shard.is_leader()).max_by_key(|shard| shard.term())
}

/// Writes keys of its own again and again until told to stop; returns what they may hold.
async fn write(
    runtime: Runtime,
    nodes: Nodes,
    writer: u64,
    stop: Arc<Mutex<bool>>,
) -> BTreeMap<u64, Expected> {
    let mut expected = BTreeMap::<u64, Expected>::new();
    let mut count = 0;
    while !*stop.lock() {
        let number = runtime.next_u64() % (KEYS / WRITERS) * WRITERS + writer;
        let Some(shard) = leading(&nodes, &name(number)) else {
            runtime.sleep(Duration::from_millis(100)).await;
            continue;
        };
        count += 1;
        let value = format!("{writer}.{count}");
        let entry = expected.entry(number).or_default();
        match runtime.timeout(PATIENCE, shard.propose(put(&name(number), &value))).await {
            Ok(Ok(_)) => {
                *entry = Expected { acknowledged: Some(value), unknown: BTreeSet::new() };
            }
            Ok(Err(error)) if !error.is_ambiguous() => {
                runtime.sleep(Duration::from_millis(20)).await;
            }
            Ok(Err(_)) | Err(_) => {
                entry.unknown.insert(value);
            }
        }
        runtime.sleep(Duration::from_millis(runtime.next_u64() % 50)).await;
    }
    expected
}

struct Chaos {
    cluster: Cluster,
    shared: Nodes,
    runtime: Runtime,
}

impl Chaos {
    fn below(&self, end: usize) -> usize {
        usize::try_from(self.runtime.next_u64() % end as u64).unwrap()
    }

    fn some_name(&self) -> String {
        name(self.runtime.next_u64() % KEYS)
    }

    fn three_nodes(&self) -> BTreeSet<usize> {
        let mut three = BTreeSet::new();
        while three.len() < 3 {
            three.insert(self.below(NODES));
        }
        three
    }

    async fn open(&mut self, number: usize) {
        self.cluster.open(number).await;
        self.shared.lock()[number] = self.cluster.nodes[number].clone();
    }

    async fn step(&mut self) {
        let down: Vec<_> = (0..NODES).filter(|number| self.cluster.nodes[*number].is_none()).collect();
        match self.below(12) {
            0 | 1 if down.len() < 2 => {
                let number = self.below(NODES);
                if !down.contains(&number) {
                    self.shared.lock()[number] = None;
                    self.cluster.crash(number).await;
                }
            }
            2..=4 if !down.is_empty() => self.open(down[0]).await,
            5 => self.cluster.network.cut(Cluster::id(self.below(NODES)), Cluster::id(self.below(NODES))),
            6 => self.cluster.network.heal(),
            7 => {
                if let Some(shard) = leading(&self.shared, &self.some_name())
                    && let Some(node) = self.shared.lock().iter().flatten().find(|node| {
                        node.shards().by_id(shard.id()).is_some_and(|here| Arc::ptr_eq(here, &shard))
                    })
                {
                    let (node, at) = (Arc::clone(node), key(&self.some_name()));
                    let limited = self.runtime.clone();
                    self.runtime.spawn("split", async move {
                        let _either =
                            limited.timeout(PATIENCE, node.split(&at)).await.map(|done| done.map(drop));
                    });
                }
            }
            8 | 9 => {
                let nodes = Cluster::ids(self.three_nodes());
                if let Some(shard) = leading(&self.shared, &self.some_name()) {
                    let limited = self.runtime.clone();
                    self.runtime.spawn("move", async move {
                        let _either = limited.timeout(3 * PATIENCE, shard.place(&nodes, PATIENCE)).await;
                    });
                }
            }
            10 => {
                let to = Cluster::id(self.below(NODES));
                if let Some(shard) = leading(&self.shared, &self.some_name()) {
                    let _either = shard.transfer_leadership(to).await;
                }
            }
            _ => {
                let number = self.below(NODES);
                if let Some(node) = &self.cluster.nodes[number] {
                    node.flush().await.unwrap();
                }
            }
        }
        let delay = [1, 5, 50, 400][self.below(4)];
        self.cluster.network.set_delay_max(Duration::from_millis(delay));
        self.runtime.sleep(Duration::from_millis(self.runtime.next_u64() % 3_000)).await;
    }

    /// Everything is well again; brings each shard to three nodes and returns all shards.
    async fn settle(&mut self) -> Vec<ShardId> {
        self.cluster.network.heal();
        self.cluster.network.set_delay_max(Duration::from_millis(5));
        for number in 0..NODES {
            if self.cluster.nodes[number].is_none() {
                self.open(number).await;
            }
        }
        let mut placed = BTreeSet::new();
        let mut at = name(0);
        loop {
            let shard = self.cluster.led(&at).await;
            if !placed.contains(&shard.id()) {
                let nodes = Cluster::ids(self.three_nodes());
                if shard.place(&nodes, PATIENCE).await.is_err() {
                    // A leader that has just been replaced, or a split that came in between.
                    self.runtime.sleep(Duration::from_millis(500)).await;
                    continue;
                }
                placed.insert(shard.id());
            }
            let next = (0..KEYS).map(name).find(|other| *other > at && !shard.range().contains(&key(other)));
            match next {
                Some(next) => at = next,
                None => return placed.into_iter().collect(),
            }
        }
    }
}

async fn run(runtime: Runtime, seed: u64) {
    let cluster = Cluster::start(runtime.clone(), NODES, 3).await;
    let shared: Nodes = Arc::new(Mutex::new(cluster.nodes.clone()));
    let stop = Arc::new(Mutex::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let writing = write(runtime.clone(), Arc::clone(&shared), writer, Arc::clone(&stop));
            runtime.spawn("writer", writing)
        })
        .collect();
    let mut chaos = Chaos { cluster, shared, runtime: runtime.clone() };
    for _ in 0..STEPS {
        chaos.step().await;
    }
    *stop.lock() = true;
    let mut expected = BTreeMap::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    let shards = chaos.settle().await;
    for shard in shards {
        let holders = chaos.cluster.until_equal(shard).await;
        assert_eq!(holders.len(), 3, "seed {seed}: {shard} is on {holders:?}");
    }
    for node in chaos.cluster.nodes.iter().flatten() {
        assert_eq!(node.failure(), None, "seed {seed}");
    }
    for (number, Expected { acknowledged, unknown }) in expected {
        let name = name(number);
        let shard = chaos.cluster.led(&name).await;
        shard.barrier().await.unwrap();
        let found = get(&shard, &name);
        let known = found == acknowledged || found.as_ref().is_some_and(|found| unknown.contains(found));
        assert!(known, "seed {seed}: {name} holds {found:?}, not {acknowledged:?} or one of {unknown:?}");
    }
}

/// Seeds that have found something: two shards of one name, and a snapshot that overtook entries that were committed.
const FOUND_SOMETHING: [u64; 10] = [5, 67, 87, 140, 141, 152, 199, 226, 228, 253];

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match (number("SHARDFORGE_SEED"), number("SHARDFORGE_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(end)) => (0..end).collect(),
        (None, None) => (0..5).chain(FOUND_SOMETHING).collect(),
    }
}

#[test]
fn nothing_is_lost_whatever_happens() {
    for seed in seeds() {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(run(runtime, seed));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(run(runtime, seed));
        simulation.trace()
    };
    assert_eq!(trace(7), trace(7));
}
