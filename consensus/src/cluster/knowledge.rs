//! What a node knows of its cluster: the registry, who was heard of when, where nodes say that they are, who serves.
//!
//! Everything here grows in one direction, so that it does not matter by which way and in which order it comes: the registry
//! by its version, a node's whereabouts by its count of starts, the claim to serve by term and number.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardforge_runtime::{Instant, NodeId};

use super::info::{NodeInfo, NodeLoad, NodeState};
use super::messages::Status;
use super::registry::{NodeRecord, View, is_sound};
use crate::limits::{NODE_ALIVE_WITHIN, NODES_MAX};

/// Where a node says that it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Presence {
    pub node: u64,
    /// Counts its starts.
    pub incarnation: u64,
    pub address: String,
    pub sql_address: String,
}

impl Presence {
    /// Whether it is newer than what is registered, and says something else.
    pub(super) fn changes(&self, record: &NodeRecord) -> bool {
        self.incarnation > record.incarnation
            && (self.address != record.address || self.sql_address != record.sql_address)
    }

    pub(super) fn is_sound(&self) -> bool {
        is_sound(&self.address) && is_sound(&self.sql_address)
    }
}

/// That a node serves SQL, or has ended to. Only the leader of the system shard makes claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The term of the system shard in which it leads that.
    pub term: u64,
    /// Counts its claims in that term.
    pub number: u64,
    pub node: u64,
    pub serves: bool,
}

struct Heard {
    at: Instant,
    load: NodeLoad,
    version: u64,
}

/// See the module's essay.
pub(crate) struct Knowledge {
    me: NodeId,
    since: Instant,
    view: View,
    presences: BTreeMap<u64, Presence>,
    heard: BTreeMap<u64, Heard>,
    claim: Claim,
}

impl Knowledge {
    pub(crate) fn new(view: View, me: Presence, now: Instant) -> Self {
        Self {
            me: NodeId(me.node),
            since: now,
            view,
            presences: BTreeMap::from([(me.node, me)]),
            heard: BTreeMap::new(),
            claim: Claim::default(),
        }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }

    /// Takes a registry over, if it is newer.
    pub(crate) fn adopt(&mut self, view: View) {
        if view.version > self.view.version {
            self.view = view;
        }
    }

    /// Takes a claim over, if it is newer.
    pub(crate) fn hear_claim(&mut self, claim: Claim) {
        self.claim = self.claim.max(claim);
    }

    /// Takes over what another node has said.
    pub(crate) fn hear(&mut self, from: NodeId, status: Status, now: Instant) {
        if self.heard.len() < NODES_MAX || self.heard.contains_key(&from.0) {
            self.heard.insert(from.0, Heard { at: now, load: status.load, version: status.version });
        }
        self.hear_claim(status.claim);
        for presence in status.presences {
            let is_newer = self
                .presences
                .get(&presence.node)
                .is_none_or(|known| known.incarnation < presence.incarnation);
            // Where this node is, it knows best.
            let has_room = self.presences.len() < NODES_MAX || self.presences.contains_key(&presence.node);
            if is_newer && has_room && presence.is_sound() && presence.node != self.me.0 {
                self.presences.insert(presence.node, presence);
            }
        }
    }

    /// What is told to others; `load` is this node's.
    pub(crate) fn status(&self, load: NodeLoad) -> Status {
        Status { version: self.view.version, presences: self.unregistered(), claim: self.claim, load }
    }

    /// Where nodes say that they are, if the registry does not have it.
    pub(crate) fn unregistered(&self) -> Vec<Presence> {
        let registered = |presence: &&Presence| match self.view.nodes.get(&presence.node) {
            Some(record) => presence.changes(record) && record.state != NodeState::Gone,
            None => true,
        };
        self.presences.values().filter(registered).cloned().collect()
    }

    /// The nodes, with the newest of their addresses.
    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        let info = |record: &NodeRecord| {
            let mut info = record.info();
            if let Some(presence) = self.presences.get(&record.id).filter(|presence| presence.changes(record))
            {
                info.address.clone_from(&presence.address);
                info.sql_address.clone_from(&presence.sql_address);
            }
            info
        };
        self.view.nodes.values().map(info).collect()
    }

    /// The other nodes of the cluster; none when this one is no part of it any more.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        if self.view.state(self.me) == Some(NodeState::Gone) {
            return Vec::new();
        }
        let others = self.view.nodes.values().filter(|record| record.state != NodeState::Gone);
        others.map(|record| NodeId(record.id)).filter(|id| *id != self.me).collect()
    }

    /// How long ago a node was heard of; `None` if it was not since this one was started.
    pub(crate) fn last_heard(&self, node: NodeId, now: Instant) -> Option<Duration> {
        if node == self.me {
            return Some(Duration::ZERO);
        }
        self.heard.get(&node.0).map(|heard| now - heard.at)
    }

    /// For how long nothing was heard of a node, for all that this one knows.
    pub(crate) fn silent_for(&self, node: NodeId, now: Instant) -> Duration {
        self.last_heard(node, now).unwrap_or(now - self.since)
    }

    pub(crate) fn is_alive(&self, node: NodeId, now: Instant) -> bool {
        self.last_heard(node, now).is_some_and(|ago| ago <= NODE_ALIVE_WITHIN)
    }

    pub(crate) fn load(&self, node: NodeId) -> Option<NodeLoad> {
        self.heard.get(&node.0).map(|heard| heard.load)
    }

    /// Whether another node's registry was older than this one's when it was last heard.
    pub(crate) fn is_behind(&self, node: NodeId) -> bool {
        self.heard.get(&node.0).is_some_and(|heard| heard.version < self.view.version)
    }

    /// Who serves SQL.
    pub(crate) fn primary(&self, now: Instant) -> Option<NodeId> {
        let node = NodeId(self.claim.node);
        (self.claim.serves && self.is_alive(node, now)).then_some(node)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardforge_runtime::{NodeId, Simulation};

    use super::{Claim, Knowledge, Presence};
    use crate::cluster::info::{NodeLoad, NodeState};
    use crate::cluster::messages::Status;
    use crate::cluster::registry::{NodeRecord, View};

    fn presence(node: u64, incarnation: u64, address: &str) -> Presence {
        Presence { node, incarnation, address: address.to_owned(), sql_address: String::new() }
    }

    fn view(version: u64, nodes: &[(u64, u64, &str)]) -> View {
        let record = |(id, incarnation, address): &(u64, u64, &str)| NodeRecord {
            id: *id,
            state: NodeState::Active,
            address: (*address).to_owned(),
            sql_address: String::new(),
            incarnation: *incarnation,
            admission: 0,
        };
        View { version, replicas: 3, nodes: nodes.iter().map(|node| (node.0, record(node))).collect() }
    }

    fn status(presences: Vec<Presence>, claim: Claim) -> Status {
        Status { version: 0, presences, claim, load: NodeLoad::default() }
    }

    #[test]
    fn what_is_newer_wins_whichever_way_it_comes() {
        let start = Simulation::new(1).runtime().now();
        let mut known = Knowledge::new(view(0, &[]), presence(1, 4, "one"), start);
        known.adopt(view(3, &[(1, 4, "one"), (2, 7, "two")]));
        known.adopt(view(2, &[]));
        assert_eq!((known.view().version, known.peers()), (3, vec![NodeId(2)]));
        assert!(known.unregistered().is_empty(), "all is as registered");

        let late = status(vec![presence(2, 9, "two-again"), presence(1, 99, "elsewhere")], Claim::default());
        known.hear(NodeId(3), late, start);
        known.hear(NodeId(2), status(vec![presence(2, 8, "two-meanwhile")], Claim::default()), start);
        assert_eq!(known.unregistered(), [presence(2, 9, "two-again")]);
        assert_eq!(known.nodes()[1].address, "two-again");
        assert_eq!(known.nodes()[0].address, "one", "it knows where it is itself");
        known.adopt(view(4, &[(1, 4, "one"), (2, 9, "two-again")]));
        assert!(known.unregistered().is_empty());
    }

    #[test]
    fn who_serves_is_whoever_said_so_last_and_is_alive() {
        let start = Simulation::new(1).runtime().now();
        let mut known = Knowledge::new(view(1, &[]), presence(1, 1, ""), start);
        let claim = |term, number, node, serves| Claim { term, number, node, serves };
        known.hear(NodeId(2), status(Vec::new(), claim(5, 1, 2, true)), start);
        assert_eq!(known.primary(start), Some(NodeId(2)));
        assert_eq!(known.primary(start + Duration::from_secs(60)), None);
        known.hear(NodeId(3), status(Vec::new(), claim(4, 9, 3, true)), start);
        assert_eq!(known.primary(start), Some(NodeId(2)));
        known.hear(NodeId(2), status(Vec::new(), claim(5, 2, 2, false)), start);
        assert_eq!(known.primary(start), None);
        known.hear_claim(claim(6, 1, 1, true));
        assert_eq!(known.primary(start + Duration::from_secs(60)), Some(NodeId(1)), "itself it hears always");
    }
}
