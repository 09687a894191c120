//! The registry of nodes, as the system shard keeps it.
//!
//! ```text
//!   01 'h'            -> Header       counters: the version of the node list, the next names of nodes and of shards
//!   01 'n' node u64   -> NodeRecord
//!   01 't' token u64  -> TokenRecord
//! ```
//!
//! Values are bincode behind a version byte. Only the leader of the system shard writes, every change is one command, and it
//! holds in the leader's term alone; so what a change was worked out from is still so when it is carried out.
//!
//! This file has no I/O but the reading: an [`Order`] turns a registry into another one, and the difference is the command.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shardforge_runtime::NodeId;

use super::info::{NodeInfo, NodeState, TokenCheck};
use super::knowledge::Presence;
use crate::command::Command;
use crate::engine::CursorOptions;
use crate::error::{ConsensusError, Result};
use crate::limits::{
    ADDRESS_LENGTH_MAX, NODE_ID_END, REPLICAS_WANTED, SHARD_IDS_AT_ONCE, TOKEN_SIZE_MAX_BYTES, TOKENS_MAX,
};
use crate::raft::codec;
use crate::shard::Shard;
use crate::types::SYSTEM_PREFIX;

const HEADER: u8 = b'h';
const NODE: u8 = b'n';
const TOKEN: u8 = b't';

fn header_key() -> Bytes {
    Bytes::from_static(&[SYSTEM_PREFIX, HEADER])
}

fn key(kind: u8, id: u64) -> Bytes {
    let mut key = Vec::with_capacity(10);
    key.extend_from_slice(&[SYSTEM_PREFIX, kind]);
    key.extend_from_slice(&id.to_be_bytes());
    Bytes::from(key)
}

/// The counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Counts the changes of what is in a [`View`].
    pub version: u64,
    pub next_node: u64,
    pub next_shard: u64,
    /// How many replicas a shard is to have where there are as many nodes.
    pub replicas: u32,
}

/// A node, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub id: u64,
    pub state: NodeState,
    pub address: String,
    pub sql_address: String,
    /// Counts the node's starts; its addresses are those of this one.
    pub incarnation: u64,
    /// By which request it was admitted: the same request gets the same answer.
    pub admission: u64,
}

/// A join token, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub record: Vec<u8>,
    /// In seconds since 1970.
    pub expires_at: u64,
}

/// The registry as all nodes know it, some of them later than others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct View {
    /// Zero: nothing is known but what this node was told when it was started.
    pub version: u64,
    pub replicas: u32,
    pub nodes: BTreeMap<u64, NodeRecord>,
}

impl View {
    pub(crate) fn state(&self, node: NodeId) -> Option<NodeState> {
        self.nodes.get(&node.0).map(|record| record.state)
    }
}

impl NodeRecord {
    /// A node of which nothing is stored yet.
    pub(crate) fn told(info: &NodeInfo) -> Self {
        Self {
            id: info.id.0,
            state: info.state,
            address: info.address.clone(),
            sql_address: info.sql_address.clone(),
            incarnation: 0,
            admission: 0,
        }
    }

    fn new(presence: &Presence) -> Self {
        Self {
            id: presence.node,
            state: NodeState::Active,
            address: presence.address.clone(),
            sql_address: presence.sql_address.clone(),
            incarnation: presence.incarnation,
            admission: 0,
        }
    }

    pub(crate) fn info(&self) -> NodeInfo {
        NodeInfo {
            id: NodeId(self.id),
            address: self.address.clone(),
            sql_address: self.sql_address.clone(),
            state: self.state,
        }
    }
}

/// What the leader of the system shard is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Admit(Admission),
    AddToken {
        id: u64,
        record: Vec<u8>,
        expires_at: u64,
    },
    SetState {
        node: u64,
        state: NodeState,
    },
    /// Names for new shards.
    ShardIds,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Admission {
    pub token: u64,
    pub shown: Vec<u8>,
    pub address: String,
    pub sql_address: String,
    /// Drawn by the node that was asked to admit, so that it may ask again when it has got no answer.
    pub request: u64,
}

/// What has come of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Done {
    /// There is nothing to say.
    Well,
    Admitted {
        node: u64,
    },
    /// Names from `first` to before `end`.
    ShardIds {
        first: u64,
        end: u64,
    },
}

/// What the leader knows beside the registry when it obeys.
pub(crate) struct Circumstances<'a> {
    /// In seconds since 1970.
    pub now: u64,
    pub check: &'a TokenCheck,
    /// All shards have names below this one.
    pub shards_end: u64,
}

/// All that is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Registry {
    pub header: Header,
    pub nodes: BTreeMap<u64, NodeRecord>,
    pub tokens: BTreeMap<u64, TokenRecord>,
}

impl Registry {
    /// The registry of a cluster whose first node is here.
    pub(crate) fn found(first: &Presence, nodes_end: u64, shards_end: u64) -> Self {
        let header =
            Header { version: 0, next_node: nodes_end, next_shard: shards_end, replicas: REPLICAS_WANTED };
        let nodes = BTreeMap::from([(first.node, NodeRecord::new(first))]);
        Self { header, nodes, tokens: BTreeMap::new() }
    }

    /// What is stored in the system shard; `None` when nothing is.
    pub(crate) fn load(system: &Shard) -> Result<Option<Self>> {
        let view = system.read();
        let Some(header) = view.get(&header_key())? else { return Ok(None) };
        let header: Header = codec::decode(&header)?;
        let mut registry = Self { header, nodes: BTreeMap::new(), tokens: BTreeMap::new() };
        let options = CursorOptions::range(vec![SYSTEM_PREFIX, NODE], vec![SYSTEM_PREFIX, TOKEN + 1]);
        let mut cursor = view.cursor(options)?;
        let mut more = cursor.seek_to_first()?;
        while more {
            let id = cursor.key().get(2..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
            match (cursor.key().get(1), id) {
                (Some(&NODE), Some(id)) => {
                    registry.nodes.insert(id, codec::decode(cursor.value())?);
                }
                (Some(&TOKEN), Some(id)) => {
                    registry.tokens.insert(id, codec::decode(cursor.value())?);
                }
                _ => return Err(ConsensusError::Corrupt("a record of the registry has no name".to_owned())),
            }
            more = cursor.next()?;
        }
        Ok(Some(registry))
    }

    /// The command that makes this one of `before`; `None` when they are the same. What others know of it gets a new version
    /// when it has changed.
    pub(crate) fn command(&mut self, before: Option<&Self>, term: u64) -> Result<Option<Command>> {
        if before == Some(self) {
            return Ok(None);
        }
        if before
            .is_none_or(|before| before.nodes != self.nodes || before.header.replicas != self.header.replicas)
        {
            self.header.version += 1;
        }
        let mut command = Command { expected_term: Some(term), ..Command::default() };
        command.puts.push((header_key(), codec::encode(&self.header)?.into()));
        for (id, node) in &self.nodes {
            if before.is_none_or(|before| before.nodes.get(id) != Some(node)) {
                command.puts.push((key(NODE, *id), codec::encode(node)?.into()));
            }
        }
        for (id, token) in &self.tokens {
            if before.is_none_or(|before| before.tokens.get(id) != Some(token)) {
                command.puts.push((key(TOKEN, *id), codec::encode(token)?.into()));
            }
        }
        let gone =
            before.iter().flat_map(|before| before.tokens.keys()).filter(|id| !self.tokens.contains_key(id));
        command.deletes.extend(gone.map(|id| key(TOKEN, *id)));
        Ok(Some(command))
    }

    /// What all nodes are to know of it.
    pub(crate) fn view(&self) -> View {
        View { version: self.header.version, replicas: self.header.replicas, nodes: self.nodes.clone() }
    }

    /// Does what is asked.
    pub(crate) fn obey(&mut self, order: Order, now: &Circumstances<'_>) -> Result<Done> {
        match order {
            Order::Admit(admission) => self.admit(admission, now),
            Order::AddToken { id, record, expires_at } => {
                self.add_token(id, TokenRecord { record, expires_at }, now)
            }
            Order::SetState { node, state } => self.set_state(node, state),
            Order::ShardIds => {
                let first = self.header.next_shard.max(now.shards_end);
                let end = first + SHARD_IDS_AT_ONCE;
                self.header.next_shard = end;
                Ok(Done::ShardIds { first, end })
            }
        }
    }

    fn admit(&mut self, admission: Admission, now: &Circumstances<'_>) -> Result<Done> {
        let Admission { token, shown, address, sql_address, request } = admission;
        if let Some(node) = self.nodes.values().find(|node| node.admission == request && request != 0) {
            return Ok(Done::Admitted { node: node.id });
        }
        let unknown = || refused("the join token is not known here: it was used already, or it has expired");
        let kept = self.tokens.get(&token).filter(|kept| kept.expires_at > now.now).ok_or_else(unknown)?;
        (now.check)(&kept.record, &shown).map_err(ConsensusError::Refused)?;
        check_addresses(&address, &sql_address)?;
        let id = self.header.next_node;
        if id >= NODE_ID_END {
            return Err(refused("the cluster has no names for nodes left"));
        }
        self.tokens.remove(&token);
        self.header.next_node = id + 1;
        let record = NodeRecord {
            id,
            state: NodeState::Active,
            address,
            sql_address,
            incarnation: 0,
            admission: request,
        };
        self.nodes.insert(id, record);
        Ok(Done::Admitted { node: id })
    }

    fn add_token(&mut self, id: u64, token: TokenRecord, now: &Circumstances<'_>) -> Result<Done> {
        if token.record.len() > TOKEN_SIZE_MAX_BYTES {
            return Err(refused("the join token's record is too large"));
        }
        self.tokens.retain(|_, kept| kept.expires_at > now.now);
        if self.tokens.len() >= TOKENS_MAX && !self.tokens.contains_key(&id) {
            return Err(refused(
                "there are too many join tokens that nobody has used; wait until some expire",
            ));
        }
        self.tokens.insert(id, token);
        Ok(Done::Well)
    }

    fn set_state(&mut self, id: u64, state: NodeState) -> Result<Done> {
        let others_are_active =
            self.nodes.values().any(|other| other.id != id && other.state == NodeState::Active);
        let Some(node) = self.nodes.get_mut(&id) else {
            return Err(refused(&format!("there is no node {id}")));
        };
        if node.state == NodeState::Gone && state != NodeState::Gone {
            return Err(refused(&format!(
                "node {id} has left the cluster; it can only join again, as another one"
            )));
        }
        if node.state == NodeState::Active && state != NodeState::Active && !others_are_active {
            return Err(refused(&format!("node {id} is the only active one")));
        }
        node.state = state;
        Ok(Done::Well)
    }

    /// Takes over where nodes say that they are. A node that is not registered is if it is a founder.
    pub(crate) fn update(&mut self, presences: &[Presence], founders: &[NodeId]) {
        for presence in presences.iter().filter(|presence| presence.is_sound()) {
            match self.nodes.get_mut(&presence.node) {
                Some(node) => {
                    if presence.changes(node) && node.state != NodeState::Gone {
                        node.incarnation = presence.incarnation;
                        node.address.clone_from(&presence.address);
                        node.sql_address.clone_from(&presence.sql_address);
                    }
                }
                None if founders.contains(&NodeId(presence.node)) => {
                    self.nodes.insert(presence.node, NodeRecord::new(presence));
                    self.header.next_node = self.header.next_node.max(presence.node + 1);
                }
                None => {}
            }
        }
    }
}

fn refused(reason: &str) -> ConsensusError {
    ConsensusError::Refused(reason.to_owned())
}

/// Addresses come from other nodes, and from those that want to be some.
fn check_addresses(address: &str, sql_address: &str) -> Result<()> {
    if [address, sql_address].iter().all(|address| is_sound(address)) {
        Ok(())
    } else {
        Err(refused("an address is not of the form HOST:PORT"))
    }
}

/// Whether an address may be one; it may be empty.
pub(super) fn is_sound(address: &str) -> bool {
    address.len() <= ADDRESS_LENGTH_MAX && !address.chars().any(|c| c.is_control() || c.is_whitespace())
}
