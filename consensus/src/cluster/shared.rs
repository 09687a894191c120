//! What the tasks of a node's part in the cluster share.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use shardforge_runtime::{Instant, Network, NodeId, Runtime, TaskHandle};
use tokio::sync::watch;

use super::clocks::Clocks;
use super::info::{ClusterOptions, NodeInfo, NodeLoad, NodeState};
use super::knowledge::{Claim, Knowledge, Presence};
use super::messages::{Answer, Request};
use super::registry::{NodeRecord, View};
use super::{gossip, keeper, office, succession};
use crate::error::Result;
use crate::node::Node;
use crate::raft::codec;
use crate::raft::network::call_node;
use crate::shard::Shard;
use crate::tenure::Tenure;
use crate::types::ShardId;

/// What a node remembers of its cluster, in `raftdb`.
#[derive(Serialize, Deserialize)]
pub(super) struct Memory {
    /// Counts the node's starts.
    pub incarnation: u64,
    pub view: View,
}

/// See the module's essay.
pub(crate) struct Shared {
    pub options: ClusterOptions,
    pub node: Arc<Node>,
    pub network: Arc<dyn Network>,
    pub runtime: Runtime,
    pub incarnation: u64,
    pub knowledge: Mutex<Knowledge>,
    pub clocks: Mutex<Clocks>,
    pub nodes: watch::Sender<Arc<[NodeInfo]>>,
    pub primary: watch::Sender<Option<NodeId>>,
    pub tenure: watch::Sender<Option<Tenure>>,
    /// Whether this node is not to be the primary, because it is about to stop.
    pub stands_back: watch::Sender<bool>,
    /// Whether this node could not serve as the primary, and another one is to try; until that has come to pass.
    pub passes_on: AtomicBool,
    /// Counts what this node has learned.
    pub learned: watch::Sender<u64>,
    /// Counts what others are to hear at once.
    pub news: watch::Sender<u64>,
    /// Held by whoever changes the registry; whether the fate of the last change is unknown.
    pub unsettled: tokio::sync::Mutex<bool>,
    /// Names for new shards that nobody else has.
    pub shard_ids: Mutex<Range<u64>>,
}

impl Shared {
    pub(super) async fn open(
        node: Arc<Node>,
        network: Arc<dyn Network>,
        runtime: Runtime,
        options: ClusterOptions,
    ) -> Result<Arc<Self>> {
        let memory = node.records().cluster().map(|bytes| codec::decode::<Memory>(&bytes)).transpose()?;
        let (starts, mut view) =
            memory.map_or((0, View::default()), |memory| (memory.incarnation, memory.view));
        if view.version == 0 {
            let told = options.known.iter().map(|info| (info.id.0, NodeRecord::told(info)));
            view.nodes.extend(told);
        }
        let incarnation = starts + 1;
        let memory = Memory { incarnation, view };
        node.records().set_cluster(codec::encode(&memory)?).await?;
        let knowledge = Knowledge::new(memory.view, presence(&options, incarnation), runtime.now());
        let nodes = watch::Sender::new(Arc::from(knowledge.nodes()));
        let shared = Arc::new(Self {
            options,
            node,
            network,
            runtime,
            incarnation,
            knowledge: Mutex::new(knowledge),
            clocks: Mutex::default(),
            nodes,
            primary: watch::Sender::default(),
            tenure: watch::Sender::default(),
            stands_back: watch::Sender::default(),
            passes_on: AtomicBool::new(false),
            learned: watch::Sender::default(),
            news: watch::Sender::default(),
            unsettled: tokio::sync::Mutex::new(false),
            shard_ids: Mutex::new(0..0),
        });
        shared.serve();
        Ok(shared)
    }

    /// Answers others, and names the node's shards, from now on.
    fn serve(self: &Arc<Self>) {
        let serving = Arc::downgrade(self);
        self.node.router().serve_cluster(Arc::new(move |from, request| {
            let shared = serving.upgrade();
            async move {
                match shared {
                    Some(shared) => shared.answer(from, request).await,
                    None => Answer::Refused("the node is not serving".to_owned()),
                }
            }
            .boxed()
        }));
        let naming = Arc::downgrade(self);
        self.node.name_shards_with(Arc::new(move || {
            let shared = naming.upgrade();
            async move {
                let stopped =
                    || crate::ConsensusError::Stopped { reason: "the node is not serving".to_owned() };
                shared.ok_or_else(stopped)?.new_shard_id().await
            }
            .boxed()
        }));
    }

    pub(super) fn start(self: &Arc<Self>) -> Vec<TaskHandle<()>> {
        vec![
            self.runtime.spawn("gossip", gossip::run(Arc::clone(self))),
            self.runtime.spawn("keeper", keeper::run(Arc::clone(self))),
            self.runtime.spawn("office", office::run(Arc::clone(self))),
            self.runtime.spawn("succession", succession::run(Arc::clone(self))),
        ]
    }

    async fn answer(self: Arc<Self>, from: NodeId, request: Request) -> Answer {
        match request {
            Request::Status(status) => {
                let known = status.version;
                self.learn(|knowledge| knowledge.hear(from, status, self.runtime.now()));
                let newer = Some(self.knowledge.lock().view().clone()).filter(|view| view.version > known);
                Answer::Status { status: self.status(), wall_micros: self.runtime.wall_micros(), newer }
            }
            Request::Registry(view) => {
                self.learn(|knowledge| knowledge.adopt(view));
                Answer::Done
            }
            Request::HandOver { term } => self.hand_over_to(from, term).await,
            Request::Order(order) => self.obey_other(order).await,
            Request::Checksum(shard) => Answer::Checksum(self.own_checksum(ShardId(shard)).await),
        }
    }

    /// Asks another node for something.
    pub(super) async fn call(&self, to: NodeId, request: Request, limit: Duration) -> io::Result<Answer> {
        call_node(&*self.network, &self.runtime, to, request, limit).await
    }

    /// Takes something new in, and tells those who watch.
    pub(super) fn learn(&self, learn: impl FnOnce(&mut Knowledge)) {
        let gist =
            |knowledge: &Knowledge| (knowledge.view().version, knowledge.claim(), knowledge.unregistered());
        let is_new = {
            let mut knowledge = self.knowledge.lock();
            let before = gist(&knowledge);
            learn(&mut knowledge);
            before != gist(&knowledge)
        };
        self.publish();
        if is_new {
            self.learned.send_modify(|count| *count += 1);
        }
    }

    /// Has what this node knows told to all others at once.
    pub(super) fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Shows what is known to those who watch.
    pub(super) fn publish(&self) {
        let (nodes, primary) = {
            let knowledge = self.knowledge.lock();
            (knowledge.nodes(), knowledge.primary(self.runtime.now()))
        };
        self.nodes.send_if_modified(|known| {
            let is_new = known[..] != nodes[..];
            if is_new {
                *known = Arc::from(nodes);
            }
            is_new
        });
        self.primary.send_if_modified(|known| std::mem::replace(known, primary) != primary);
    }

    /// How this node is.
    pub(super) fn status(&self) -> super::messages::Status {
        let load = self.load();
        self.knowledge.lock().status(load)
    }

    /// Compares a peer's clock, which was read since `asked`, with this node's, and stops the node if that is wrong.
    pub(super) fn compare_clocks(&self, peer: NodeId, asked: Instant, here_micros: u64, there_micros: u64) {
        let (now, nodes) = (self.runtime.now(), self.knowledge.lock().peers().len() + 1);
        let complaint = {
            let mut clocks = self.clocks.lock();
            clocks.read(peer, (asked, now), here_micros, there_micros);
            clocks.complaint(now, nodes)
        };
        if let Some(complaint) = complaint {
            self.node.stop_because(&complaint);
        }
    }

    pub(super) fn load(&self) -> NodeLoad {
        let shards = self.node.shards();
        let leaders = shards.iter().filter(|shard| shard.is_leader()).count();
        NodeLoad { replicas: shards.len() as u64, leaders: leaders as u64 }
    }

    /// This node's replica of the system shard.
    pub(super) fn system(&self) -> Option<Arc<Shard>> {
        self.node.shards().by_id(ShardId::SYSTEM).cloned()
    }

    /// How many replicas a shard is to have: one while there are fewer than three nodes, and never an even number.
    pub(super) fn replicas_wanted(&self) -> usize {
        let knowledge = self.knowledge.lock();
        let view = knowledge.view();
        let stays = |state| matches!(state, NodeState::Active | NodeState::Draining);
        let staying = view.nodes.values().filter(|node| stays(node.state)).count();
        let most = staying.min(view.replicas as usize).max(1);
        most - (most + 1) % 2
    }

    /// Where this node is.
    pub(super) fn presence(&self) -> Presence {
        presence(&self.options, self.incarnation)
    }

    /// Makes a claim in the term of the system shard that this node leads.
    pub(super) fn claim(&self, term: u64, serves: bool) {
        self.learn(|knowledge| {
            let last = knowledge.claim();
            let number = if last.term == term { last.number + 1 } else { 1 };
            knowledge.hear_claim(Claim { term, number, node: self.options.node.0, serves });
        });
        self.tell();
    }
}

fn presence(options: &ClusterOptions, incarnation: u64) -> Presence {
    Presence {
        node: options.node.0,
        incarnation,
        address: options.advertise.clone(),
        sql_address: options.sql_advertise.clone(),
    }
}
