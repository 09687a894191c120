//! One seed on several nodes.
//!
//! ```text
//!   keeper    of each node: gathers all leaderships if it leads the system shard; opens a store in its tenure; when that
//!             serves no more, takes it from the clients a while later
//!   clients   use whichever store they find, be it one that serves no more
//!   fate      crashes nodes and opens them again, cuts links in one direction or in both, delays messages, moves leaders
//! ```
//!
//! It is one world from the beginning to the end. There is one wall clock in it, so timestamps are of one order, whoever gave
//! them out, and the oracle holds as it does for one node: nobody may see less, or more, than what was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use shardforge_consensus::{MemoryStorage, Node, ShardId, Storage};
use shardforge_runtime::{LocalNetwork, NodeId, Runtime, Simulation};
use shardforge_simulation::mutations::{Mutation, switch_on};
use shardforge_simulation::{Store, StoreStats};

use crate::recorder::Client;
use crate::run::{Plan, Report, Run, add, audit, resolve_unknown};
use crate::workloads;

/// Steps that fate takes.
const STEPS: usize = 14;
/// All must be well again this long after the last step.
const PATIENCE: Duration = Duration::from_secs(120);

/// After this long without any fault nothing changes by itself.
const CALM: Duration = Duration::from_secs(15);

/// What all tasks of a run share.
struct World {
    run: Arc<Run>,
    runtime: Runtime,
    network: LocalNetwork,
    seats: Vec<Seat>,
    /// Stores that were opened.
    opened: AtomicU64,
    stats: Mutex<StoreStats>,
}

/// A node's place in the cluster.
#[derive(Default)]
struct Seat {
    storage: MemoryStorage,
    /// None while it is down.
    node: Mutex<Option<Arc<Node>>>,
    store: Mutex<Option<Store>>,
}

fn name(number: usize) -> NodeId {
    NodeId(number as u64 + 1)
}

/// Runs a seed on a cluster, with a bug switched on or without.
pub fn run_cluster(seed: u64, nodes: u64, mutation: Option<Mutation>) -> Report {
    switch_on(mutation);
    let run = Run::new(Plan::of_cluster(seed, nodes));
    let simulation = Simulation::new(seed);
    simulation.slow_the_disk(run.plan.sync_time_max);
    let runtime = simulation.runtime();
    let network = LocalNetwork::new(runtime.clone());
    let world = Arc::new(World {
        run: Arc::clone(&run),
        runtime,
        network,
        seats: (0..nodes).map(|_| Seat::default()).collect(),
        opened: AtomicU64::new(0),
        stats: Mutex::default(),
    });
    simulation.block_on(Arc::clone(&world).live());
    let trace = simulation.trace();
    drop(simulation);
    switch_on(None);
    let opened = world.opened.load(Ordering::Relaxed) as usize;
    let stats = *world.stats.lock();
    run.report(trace, opened, stats)
}

impl World {
    async fn live(self: Arc<Self>) {
        self.network.set_delay_max(Duration::from_millis(2));
        for number in 0..self.seats.len() {
            self.open(number).await;
            self.runtime.spawn("keeper", Arc::clone(&self).keep(number));
        }
        let first = self.client().await;
        workloads::fill(&first).await.expect("the first rows are written");
        drop(first);
        let clients = (0..self.run.plan.clients).map(|_| {
            let world = Arc::clone(&self);
            self.runtime.spawn("client", async move { world.work().await })
        });
        let clients: Vec<_> = clients.collect();
        for _ in 0..STEPS {
            self.step().await;
        }
        self.network.heal();
        self.network.set_delay_max(Duration::from_millis(2));
        for number in 0..self.seats.len() {
            if self.seats[number].node.lock().is_none() {
                self.open(number).await;
            }
        }
        let ending = async {
            let ends = join_all(clients).await;
            self.run.check(ends.iter().all(Result::is_ok), || "a client was cut off".to_owned());
            // Leaders that are still to change do so by then.
            self.runtime.sleep(CALM).await;
            let client = self.client().await;
            resolve_unknown(&client).await;
            audit(&client).await;
            self.run.check(client.store.locks().is_empty(), || {
                format!("locks are left: {:?}", client.store.locks())
            });
            let mut stats = self.stats.lock();
            *stats = add(*stats, client.store.stats());
        };
        if self.runtime.timeout(PATIENCE, ending).await.is_err() {
            self.run.check(false, || "somebody is stuck though all is well again".to_owned());
        }
    }

    fn below(&self, end: usize) -> usize {
        (self.runtime.next_u64() % end as u64) as usize
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.seats.iter().filter_map(|seat| seat.node.lock().clone()).collect()
    }

    async fn open(&self, number: usize) {
        let mut options = Store::node_options(Storage::Memory(self.seats[number].storage.clone()));
        options.row_cache_bytes = 1 << 20;
        options.node_id = name(number);
        options.voters = (0..self.seats.len()).map(name).collect();
        options.network = Some(self.network.endpoint(name(number)));
        let node = Node::open(options, self.runtime.clone()).await.expect("the node opens");
        *self.seats[number].node.lock() = Some(node);
    }

    async fn crash(&self, number: usize) {
        self.network.remove(name(number));
        let node = self.seats[number].node.lock().take();
        if let Some(node) = node {
            node.halt().await;
        }
        self.seats[number].storage.crash();
    }

    /// Serves whenever the node may.
    async fn keep(self: Arc<Self>, number: usize) {
        loop {
            self.runtime.sleep(Duration::from_millis(20)).await;
            let Some(node) = self.seats[number].node.lock().clone() else { continue };
            let Some(tenure) = node.tenure() else {
                self.gather(number, &node).await;
                continue;
            };
            let options = self.run.plan.options.clone();
            // It may end before all is read.
            let Ok(store) = Store::open_in(node, tenure, self.runtime.clone(), options).await else {
                continue;
            };
            self.opened.fetch_add(1, Ordering::Relaxed);
            *self.seats[number].store.lock() = Some(store.clone());
            let caretaker = self.runtime.spawn("caretaker", care(self.client_of(store.clone())));
            store.stopped().await;
            caretaker.abort();
            {
                let mut stats = self.stats.lock();
                *stats = add(*stats, store.stats());
            }
            drop(store);
            // Whoever has not heard of it goes on for a while.
            let world = Arc::clone(&self);
            self.runtime.spawn("last ones", async move {
                let gone = world.seats[number].store.lock().clone();
                world.runtime.sleep(Duration::from_millis(world.below(3_000) as u64)).await;
                let mut seat = world.seats[number].store.lock();
                if seat.as_ref().is_some_and(Store::has_stopped) {
                    *seat = None;
                }
                drop(seat);
                drop(gone);
            });
        }
    }

    /// Asks for all leaderships, if the node leads the system shard.
    async fn gather(&self, number: usize, node: &Node) {
        if !node.shards().by_id(ShardId::SYSTEM).is_some_and(|shard| shard.is_leader()) {
            return;
        }
        for other in self.nodes() {
            for shard in other.shards().data().iter().filter(|shard| shard.is_leader()) {
                let elsewhere = !node.shards().by_id(shard.id()).is_some_and(|here| here.is_leader());
                if elsewhere {
                    // It may be lost already, or come here later.
                    let _either = shard.transfer_leadership(name(number)).await;
                }
            }
        }
    }

    fn client_of(&self, store: Store) -> Client {
        Client { run: Arc::clone(&self.run), store, runtime: self.runtime.clone() }
    }

    /// A client of some store, as soon as there is one that serves.
    async fn client(&self) -> Client {
        loop {
            let stores = self.seats.iter().filter_map(|seat| seat.store.lock().clone());
            if let Some(store) = stores.into_iter().find(|store| !store.has_stopped()) {
                return self.client_of(store);
            }
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Works with whichever store there is, until the run's transactions are done.
    async fn work(&self) {
        while !self.run.is_done() {
            let number = self.below(self.seats.len());
            let store = self.seats[number].store.lock().clone();
            if let Some(store) = store {
                self.client_of(store).work().await;
            }
            self.runtime.sleep(Duration::from_millis(1 + self.below(50) as u64)).await;
        }
    }

    /// Something happens.
    async fn step(&self) {
        let count = self.seats.len();
        let (one, other) = (self.below(count), self.below(count));
        let is_up = |number: usize| self.seats[number].node.lock().is_some();
        let down = (0..count).filter(|number| !is_up(*number)).collect::<Vec<_>>();
        match self.below(12) {
            0 | 1 if down.len() < (count - 1) / 2 && is_up(one) => self.crash(one).await,
            0..=3 if !down.is_empty() => self.open(down[0]).await,
            2 => self.network.cut(name(one), name(other)),
            3 => self.network.cut_one_way(name(one), name(other)),
            // A node alone, most likely the one that serves.
            4 | 5 => {
                let serving = self.seats.iter().position(|seat| seat.store.lock().is_some());
                let alone = serving.unwrap_or(one);
                for other in (0..count).filter(|other| *other != alone) {
                    self.network.cut(name(alone), name(other));
                }
            }
            6 | 7 => self.network.heal(),
            8..=10 => {
                let system = self.below(3) == 0;
                for node in self.nodes() {
                    let shards = node.shards();
                    let shard = if system { shards.by_id(ShardId::SYSTEM) } else { shards.data().first() };
                    if let Some(shard) = shard.filter(|shard| shard.is_leader()) {
                        let _either = shard.transfer_leadership(name(other)).await;
                    }
                }
            }
            _ => {
                if let Some(node) = self.nodes().first() {
                    // It may be stopping.
                    let _either = node.flush().await;
                }
            }
        }
        let delay = [1, 5, 30, 200][self.below(4)];
        self.network.set_delay_max(Duration::from_millis(delay));
        self.runtime.sleep(Duration::from_millis(self.runtime.next_u64() % 6_000)).await;
    }
}

/// Collects, and splits shards now and then.
async fn care(client: Client) {
    loop {
        client.pause(200_000).await;
        if client.chance(client.run.plan.splits / 4) {
            let at = workloads::some_key(&client);
            if client.store.split(at.as_bytes()).await.is_err() {
                return;
            }
        }
        if client.store.collect_garbage().await.is_err() {
            return;
        }
    }
}
