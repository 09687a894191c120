//! What the nodes of a cluster ask of each other, beside what their replicas do.

use serde::{Deserialize, Serialize};
use shardforge_runtime::Traffic;

use super::info::NodeLoad;
use super::knowledge::{Claim, Presence};
use super::registry::{Done, Order, View};
use crate::checksum::Checksum;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// How the sender is; answered with how the other one is.
    Status(Status),
    /// What the sender knows of the registry, and the other one does not.
    Registry(View),
    /// Whoever leads data shards hands them to the sender, which leads the system shard in this term.
    HandOver { term: u64 },
    /// Something for the leader of the system shard to do.
    Order(Order),
    /// What the replica of a shard holds.
    Checksum(u64),
}

impl Request {
    pub(crate) fn traffic(&self) -> Traffic {
        match self {
            Self::Status(_) | Self::HandOver { .. } => Traffic::Control,
            Self::Registry(_) | Self::Order(_) | Self::Checksum(_) => Traffic::Request,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// How the node that was asked is, what its wall clock says, and its registry, if that is newer.
    Status {
        status: Status,
        wall_micros: u64,
        newer: Option<View>,
    },
    /// Done, and there is nothing to say.
    Done,
    /// The order was carried out.
    Ordered(Done),
    /// The node that was asked does not lead the system shard; who may.
    NotLeader(Option<u64>),
    /// What the replica holds, if there is one.
    Checksum(Option<Checksum>),
    Refused(String),
}

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The version of the registry that it knows.
    pub version: u64,
    /// Its addresses, and those of others that the registry does not have yet.
    pub presences: Vec<Presence>,
    /// Who serves SQL, as it knows.
    pub claim: Claim,
    pub load: NodeLoad,
}
