//! Nodes with their parts in a cluster, in a simulation; what the tests of those parts start from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardforge_runtime::{LocalNetwork, NodeId, Runtime};

use super::{key, put};
use crate::{
    AdmitRequest, Checksum, Cluster, ClusterOptions, Members, MemoryStorage, NewToken, Node, NodeInfo,
    NodeOptions, ShardId, Storage, Tenure,
};

/// A node that is up.
pub(super) struct Place {
    pub node: Arc<Node>,
    pub cluster: Arc<Cluster>,
}

/// Numbered from one, as nodes are.
pub(super) struct Places {
    pub runtime: Runtime,
    pub network: LocalNetwork,
    pub storage: BTreeMap<u64, MemoryStorage>,
    pub places: BTreeMap<u64, Place>,
    /// Where nodes say that they are, by number.
    pub addresses: Vec<String>,
    known: BTreeMap<u64, Vec<NodeInfo>>,
    pub replaced_after: Duration,
}

impl Places {
    /// One node.
    pub(super) async fn start(runtime: Runtime) -> Self {
        let network = LocalNetwork::new(runtime.clone());
        network.set_delay_max(Duration::from_millis(5));
        let mut places = Self {
            runtime,
            network,
            storage: BTreeMap::new(),
            places: BTreeMap::new(),
            addresses: (0..10).map(|number| format!("n{number}:{number}")).collect(),
            known: BTreeMap::new(),
            replaced_after: Duration::from_secs(300),
        };
        places.open(1).await;
        places
    }

    pub(super) async fn open(&mut self, number: u64) {
        let storage = self.storage.entry(number).or_insert_with(MemoryStorage::new).clone();
        let network = self.network.endpoint(NodeId(number));
        let mut options = NodeOptions::new(Storage::Memory(storage));
        options.node_id = NodeId(number);
        options.voters = vec![NodeId(1)];
        options.network = Some(Arc::clone(&network));
        let node = Node::open(options, self.runtime.clone()).await.unwrap();
        let address = self.addresses[usize::try_from(number).unwrap()].clone();
        let mut options = ClusterOptions::new(NodeId(number), address, format!("n{number}:sql"));
        options.known = self.known.get(&number).cloned().unwrap_or_default();
        options.replaced_after = self.replaced_after;
        options.check_token =
            Arc::new(
                |record, shown| {
                    if record == shown { Ok(()) } else { Err("that is not the secret".to_owned()) }
                },
            );
        let cluster =
            Cluster::start(Arc::clone(&node), network, self.runtime.clone(), options).await.unwrap();
        self.places.insert(number, Place { node, cluster });
    }

    /// Has a node admit another one, and starts that; returns its number.
    pub(super) async fn join(&mut self, through: u64) -> u64 {
        let token = self.runtime.next_u64();
        let cluster = self.cluster(through);
        let record = Bytes::from(format!("secret {token}"));
        cluster
            .add_token(NewToken { id: token, record: record.clone(), expires_at: u64::MAX })
            .await
            .unwrap();
        let request =
            AdmitRequest { token, shown: record, address: String::new(), sql_address: String::new() };
        let NodeId(number) = cluster.admit(request).await.unwrap();
        let known = cluster.nodes().borrow().to_vec();
        self.known.insert(number, known);
        self.open(number).await;
        number
    }

    /// Ends a node as a power failure would.
    pub(super) async fn crash(&mut self, number: u64) {
        self.network.remove(NodeId(number));
        let Place { node, cluster } = self.places.remove(&number).unwrap();
        cluster.stop().await;
        node.halt().await;
        drop((cluster, node));
        self.storage[&number].crash();
    }

    pub(super) fn node(&self, number: u64) -> Arc<Node> {
        Arc::clone(&self.places[&number].node)
    }

    pub(super) fn cluster(&self, number: u64) -> Arc<Cluster> {
        Arc::clone(&self.places[&number].cluster)
    }

    /// Waits until what a node knows of all is as it should be.
    pub(super) async fn until(&self, number: u64, is_so: impl Fn(&[NodeInfo]) -> bool) {
        let mut nodes = self.cluster(number).nodes();
        let waiting = nodes.wait_for(|nodes| is_so(nodes));
        let waited = self.runtime.timeout(Duration::from_secs(60), waiting).await;
        waited.unwrap_or_else(|_| panic!("node {number} did not learn it")).unwrap();
    }

    /// Waits until a node knows so many.
    pub(super) async fn until_known(&self, number: u64, count: usize) {
        self.until(number, |nodes| nodes.len() == count && nodes.iter().all(|node| !node.address.is_empty()))
            .await;
    }

    /// Waits until a node hears of another.
    pub(super) async fn until_alive(&self, number: u64, other: u64) {
        while !self.cluster(number).is_alive(NodeId(other)) {
            self.runtime.sleep(Duration::from_millis(100)).await;
        }
    }

    /// So many nodes, an odd number up to five, with replicas of every shard on each.
    pub(super) async fn of_size(runtime: Runtime, size: u64) -> Self {
        let mut places = Self::start(runtime).await;
        for _ in 1..size {
            places.join(1).await;
        }
        let nodes: Vec<_> = (1..=size).collect();
        places.until_placed(&nodes).await;
        places
    }

    /// The nodes that have a tenure that is valid.
    pub(super) fn in_office(&self) -> Vec<u64> {
        let valid = |place: &Place| place.cluster.tenure().borrow().as_ref().is_some_and(Tenure::is_valid);
        self.places.iter().filter(|(_, place)| valid(place)).map(|(number, _)| *number).collect()
    }

    /// Waits until a node is the primary.
    pub(super) async fn primary(&self) -> u64 {
        loop {
            if let [primary] = self.in_office()[..] {
                return primary;
            }
            self.runtime.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all shards vote on these nodes, and nowhere else.
    pub(super) async fn until_placed(&self, numbers: &[u64]) {
        let nodes: BTreeSet<_> = numbers.iter().map(|number| NodeId(*number)).collect();
        self.until_all(|members| members.voting_nodes() == nodes && members.list.len() == nodes.len()).await;
    }

    /// Waits until the replicas of all shards are as they should be, as the primary knows.
    pub(super) async fn until_all(&self, is_so: impl Fn(&Members) -> bool) {
        let waiting = async {
            loop {
                let primary = self.primary().await;
                let shards = self.node(primary).shards();
                if shards.iter().all(|shard| shard.is_leader() && is_so(&shard.members())) {
                    return;
                }
                self.runtime.sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = self.runtime.timeout(Duration::from_secs(900), waiting).await;
        assert!(waited.is_ok(), "{:#?}", self.all_members());
    }

    fn all_members(&self) -> Vec<(u64, ShardId, Members)> {
        let shards = self.places.iter().flat_map(|(number, place)| {
            place.node.shards().iter().map(|shard| (*number, shard.id(), shard.members())).collect::<Vec<_>>()
        });
        shards.collect()
    }

    /// Writes in the tenure of the primary, whoever that is when it succeeds.
    pub(super) async fn write(&self, name: &str, value: &str) {
        let writing = async {
            loop {
                let primary = self.primary().await;
                let tenure = self.cluster(primary).tenure().borrow().clone().unwrap();
                let shard = self.node(primary).shard_for(&key(name)).unwrap();
                if tenure.propose(&shard, put(name, value)).await.is_ok() {
                    return;
                }
                self.runtime.sleep(Duration::from_millis(20)).await;
            }
        };
        self.runtime.timeout(Duration::from_secs(60), writing).await.unwrap();
    }

    /// Waits until all replicas of all shards hold the same; returns how many of each shard there are.
    pub(super) async fn until_equal(&self) -> BTreeMap<ShardId, usize> {
        loop {
            let mut sums = BTreeMap::<ShardId, Vec<Checksum>>::new();
            for place in self.places.values() {
                for shard in place.node.shards().iter() {
                    sums.entry(shard.id()).or_default().push(shard.checksum().await.unwrap());
                }
            }
            let all = sums.values().flatten();
            if sums.values().all(|sums| sums.windows(2).all(|pair| pair[0] == pair[1])) && all.count() > 0 {
                return sums.into_iter().map(|(shard, sums)| (shard, sums.len())).collect();
            }
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }
}
