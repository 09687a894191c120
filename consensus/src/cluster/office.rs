//! Becoming the primary, being it, and giving it up.
//!
//! ```text
//!   until this node leads the system shard
//!     gather:   the data shards that nobody leads -> it stands for election
//!               those that others lead            -> it asks them to hand them over
//!       all led, all applied                      -> a tenure, until it ends or the node is told to stand back
//!       not within GATHER_LIMIT                   -> the system shard goes to the next voter, which tries the same
//!       the database cannot be served here        -> likewise, and this node may be asked again when its turn comes
//! ```
//!
//! That another node is the one to ask is a matter of luck and of gossip; that nobody serves beside a tenure is not: a tenure
//! ends before anything of it is handed over ([`crate::Tenure`]).

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::select;
use shardforge_runtime::{Instant, NodeId};

use super::allocator;
use super::info::NodeState;
use super::messages::{Answer, Request};
use super::shared::Shared;
use crate::limits::{
    ASK_INTERVAL, GATHER_LIMIT, GATHER_ROUND, GOSSIP_INTERVAL, GOSSIP_LIMIT, STAND_BACK_LIMIT,
};
use crate::raft::network::call_node;
use crate::shard::Shard;
use crate::tenure::Tenure;
use crate::types::ShardId;

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.node.changes();
    loop {
        changes.borrow_and_update();
        let Some(system) = shared.system().filter(|system| system.is_leader()) else {
            shared.passes_on.store(false, Ordering::Relaxed);
            // Nothing but a change makes this node lead.
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Some(successor) = shared.successor_if_wanted() {
            hand_over(&shared, &system, successor).await;
        } else if let Some(tenure) = gather(&shared, &system).await {
            hold(&shared, tenure).await;
        } else if let Some(successor) = shared.successor().filter(|_| system.is_leader()) {
            tracing::info!(%successor, "could not gather all shards; another node is to try");
            hand_over(&shared, &system, successor).await;
        }
    }
}

/// Has all shards led here; `None` when the node does not lead the system shard any more, is to stand back, or could not do it in
/// time.
async fn gather(shared: &Shared, system: &Shard) -> Option<Tenure> {
    let deadline = shared.runtime.now() + GATHER_LIMIT;
    let mut changes = shared.node.changes();
    let (mut stood_at, mut asked_at) = (None, None);
    loop {
        changes.borrow_and_update();
        if let Some(tenure) = shared.node.tenure() {
            return Some(tenure);
        }
        let now = shared.runtime.now();
        if !system.is_leader() || now >= deadline || shared.successor_if_wanted().is_some() {
            return None;
        }
        let is_due = |last: Option<Instant>, interval| last.is_none_or(|last| now >= last + interval);
        if is_due(stood_at, GATHER_ROUND) {
            stood_at = Some(now);
            let leaders = stand(shared, system.replica().leads_since()).await;
            if is_due(asked_at, ASK_INTERVAL) {
                asked_at = Some(now);
                ask(shared, leaders, system.term());
            }
        }
        let next = shared.runtime.sleep_until(stood_at.unwrap_or(now) + GATHER_ROUND);
        select(pin!(changes.changed()), next).await;
    }
}

/// Stands for election in the data shards that nobody leads, and asks those who follow this node in others whether they still do, if that
/// is not known since a moment; returns the nodes that lead the rest.
async fn stand(shared: &Shared, moment: Instant) -> BTreeSet<NodeId> {
    let mut leaders = BTreeSet::new();
    for shard in shared.node.shards().data() {
        let replica = shard.replica();
        match replica.led_in() {
            None => {
                leaders.extend(replica.known_leader());
                replica.stand_if_unled().await;
            }
            Some(term) if !replica.is_followed_since(term, moment) => replica.hurry().await,
            Some(_) => {}
        }
    }
    leaders.remove(&shared.options.node);
    leaders
}

/// Asks nodes for the data shards that they lead; does not wait for the answers.
fn ask(shared: &Shared, leaders: BTreeSet<NodeId>, term: u64) {
    for leader in leaders {
        let (network, runtime) = (Arc::clone(&shared.network), shared.runtime.clone());
        let asking = async move {
            let request = Request::HandOver { term };
            let answer = call_node(&*network, &runtime, leader, request, GOSSIP_LIMIT).await;
            if let Ok(Answer::Refused(reason)) = answer {
                tracing::info!(%leader, "it hands no shards over: {reason}");
            }
        };
        // It ends by itself, within its limit.
        drop(shared.runtime.spawn("ask for shards", asking));
    }
}

/// Is the primary, until the tenure ends or another node is to be it.
async fn hold(shared: &Shared, tenure: Tenure) {
    let term = tenure.term_of(ShardId::SYSTEM).unwrap_or_default();
    tracing::info!(term, "this node is the primary");
    let _begun = shared.tenure.send_replace(Some(tenure.clone()));
    {
        let (ended, replaced) = (pin!(tenure.ended()), pin!(shared.until_successor_is_wanted()));
        select(select(ended, replaced), pin!(allocator::run(shared))).await;
    }
    tenure.end("this node gives it up");
    let _ended = shared.tenure.send_replace(None);
    shared.claim(term, false);
    tracing::info!(term, reason = tenure.reason(), "this node is the primary no more");
}

/// Hands the system shard, and what else this node leads, to another node.
async fn hand_over(shared: &Shared, system: &Shard, to: NodeId) {
    let shards = shared.node.shards();
    // The system shard last: whoever gets it finds the others there.
    for shard in shards.data().iter().map(|shard| &**shard).chain([system]) {
        if shard.is_leader()
            && let Err(error) = shard.transfer_leadership(to).await
        {
            tracing::info!(shard = %shard.id(), %to, "could not be handed over: {error}");
        }
    }
    // It has come to pass when others say so; what cannot be handed over is tried again.
    let mut changes = shared.node.changes();
    changes.borrow_and_update();
    select(pin!(changes.changed()), shared.runtime.sleep(GATHER_ROUND)).await;
}

impl Shared {
    /// Says whether SQL is served here, if there is a tenure.
    pub(super) fn serving(&self, serves: bool) {
        if serves {
            self.passes_on.store(false, Ordering::Relaxed);
        }
        let term = self.tenure.borrow().as_ref().and_then(|tenure| tenure.term_of(ShardId::SYSTEM));
        if let Some(term) = term {
            self.claim(term, serves);
        }
    }

    /// Gives up a tenure that this node can make no use of, and has another node be the primary, if there is one.
    pub(super) fn pass_on(&self, tenure: &Tenure, reason: &str) {
        self.passes_on.store(true, Ordering::Relaxed);
        tenure.end(reason);
    }

    /// Hands over the shards that this node leads to the one that leads the system shard in a term.
    pub(super) async fn hand_over_to(&self, to: NodeId, term: u64) -> Answer {
        let system = self.system();
        if self.tenure.borrow().is_some() || system.as_ref().is_some_and(|system| system.is_leader()) {
            return Answer::Refused("it leads the system shard".to_owned());
        }
        if system.is_some_and(|system| system.term() > term) {
            return Answer::Refused("the system shard has a later leader".to_owned());
        }
        for shard in self.node.shards().data().iter().filter(|shard| shard.is_leader()) {
            if let Err(error) = shard.transfer_leadership(to).await {
                tracing::info!(shard = %shard.id(), %to, "could not be handed over: {error}");
            }
        }
        Answer::Done
    }

    /// The voters of the system shard that may be the primary, as far as is known, and this node itself if it may.
    pub(super) fn may_follow(&self) -> BTreeSet<NodeId> {
        let voters = self.system().map_or_else(BTreeSet::new, |system| system.members().voting_nodes());
        let me = self.options.node;
        let stands_back = *self.stands_back.borrow();
        let knowledge = self.knowledge.lock();
        let now = self.runtime.now();
        let fits = |node: &NodeId| {
            let is_there = if *node == me { !stands_back } else { knowledge.is_alive(*node, now) };
            is_there && knowledge.view().state(*node) == Some(NodeState::Active)
        };
        voters.into_iter().filter(fits).collect()
    }

    /// The voter of the system shard that comes next after this node, is alive, and may be the primary.
    fn successor(&self) -> Option<NodeId> {
        let me = self.options.node;
        let mut fitting = self.may_follow();
        fitting.remove(&me);
        let next = fitting.iter().find(|node| **node > me);
        next.or(fitting.first()).copied()
    }

    /// Who is to be the primary instead of this node, if it is not to be it and there is another one.
    fn successor_if_wanted(&self) -> Option<NodeId> {
        let may_not = *self.stands_back.borrow() || self.passes_on.load(Ordering::Relaxed);
        let is_active = self.knowledge.lock().view().state(self.options.node) == Some(NodeState::Active);
        if is_active && !may_not { None } else { self.successor() }
    }

    async fn until_successor_is_wanted(&self) {
        let (mut learned, mut told) = (self.learned.subscribe(), self.stands_back.subscribe());
        loop {
            learned.borrow_and_update();
            told.borrow_and_update();
            if self.successor_if_wanted().is_some() {
                return;
            }
            let (learned, told) = (pin!(learned.changed()), pin!(told.changed()));
            // Whether there is a successor changes with who is alive, too.
            select(select(learned, told), self.runtime.sleep(GOSSIP_INTERVAL)).await;
        }
    }

    /// Gives up being the primary, if there is another node for it, and becomes it no more; waits until it leads nothing.
    pub(super) async fn stand_back(&self) {
        let _was = self.stands_back.send_replace(true);
        let mut changes = self.node.changes();
        let led_here = |shard: &Arc<Shard>| {
            shard.replica().known_leader() == Some(self.options.node) && !shard.replica().is_sole_voter()
        };
        let leading = async {
            // Who leads changes with what raft says, and who could instead with who is alive.
            while self.successor_if_wanted().is_some() && self.node.shards().iter().any(led_here) {
                changes.borrow_and_update();
                select(pin!(changes.changed()), self.runtime.sleep(GATHER_ROUND)).await;
            }
        };
        let _either = self.runtime.timeout(STAND_BACK_LIMIT, leading).await;
    }
}
