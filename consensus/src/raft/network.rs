//! The transport: raft's requests between replicas, over [`Network`].
//!
//! ```text
//!   leader's replication task                     the other node
//!     Peer::append_entries --- Envelope ---> Network ---> Router::serve --> its replica's Raft
//!                          <--- Answer  ---
//! ```
//!
//! A request names the shard and the replica it is meant for. A node that has no such replica says so; replica
//! ids are never used twice, so a message cannot reach the successor of the one it was meant for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{Either, select};
use openraft::alias::SnapshotOf;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use shardforge_runtime::{Network, NodeId, Runtime, Traffic};

use super::snapshot::{ShardContent, SnapshotData};
use super::{LogId, Placement, Raft, SnapshotMeta, TypeConfig, Vote, codec};
use crate::limits::RPC_TIMEOUT;
use crate::types::{ReplicaId, ShardId};

#[derive(Serialize, Deserialize)]
struct Envelope {
    shard: ShardId,
    to: ReplicaId,
    request: Request,
}

#[derive(Serialize, Deserialize)]
enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot { vote: Vote, meta: SnapshotMeta, content: ShardContent },
    TransferLeader { from: Vote, to: ReplicaId, last_log_id: Option<LogId> },
}

impl Request {
    /// Heartbeats are appends of nothing: they must arrive however much is being replicated or copied.
    fn traffic(&self) -> Traffic {
        match self {
            Self::Append(append) if !append.entries.is_empty() => Traffic::Raft,
            Self::Append(_) | Self::Vote(_) | Self::PreVote(_) | Self::TransferLeader { .. } => {
                Traffic::Control
            }
            Self::Snapshot { .. } => Traffic::Bulk,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    Refused(String),
}

/// Makes the connections of one shard's replica to the others.
pub(crate) struct Peers {
    pub shard: ShardId,
    pub network: Arc<dyn Network>,
    pub runtime: Runtime,
    pub replica: ReplicaId,
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: ReplicaId, placement: &Placement) -> Peer {
        Peer {
            shard: self.shard,
            from: self.replica,
            to: target,
            node: NodeId(placement.node),
            network: Arc::clone(&self.network),
            runtime: self.runtime.clone(),
        }
    }
}

/// Another replica of the shard.
pub(crate) struct Peer {
    shard: ShardId,
    from: ReplicaId,
    to: ReplicaId,
    node: NodeId,
    network: Arc<dyn Network>,
    runtime: Runtime,
}

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

impl Peer {
    async fn call(&self, kind: RPCTypes, request: Request, option: &RPCOption) -> RpcResult<Answer> {
        let traffic = request.traffic();
        let envelope = Envelope { shard: self.shard, to: self.to, request };
        let bytes = codec::encode(&envelope).map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        let limit = option.soft_ttl();
        let calling = self.network.call(self.node, traffic, Bytes::from(bytes));
        let answer = match self.runtime.timeout(limit, calling).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(_elapsed) => {
                let timeout = Timeout { action: kind, id: self.from, target: self.to, timeout: limit };
                return Err(RPCError::Timeout(timeout));
            }
        };
        match codec::decode(&answer) {
            Ok(Answer::Refused(reason)) => {
                Err(RPCError::Unreachable(Unreachable::new(&io::Error::other(reason))))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

fn unexpected<T>() -> RpcResult<T> {
    Err(RPCError::Network(NetworkError::new(&io::Error::other("the answer belongs to another request"))))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        match self.call(RPCTypes::AppendEntries, Request::Append(request), &option).await? {
            Answer::Append(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.call(RPCTypes::Vote, Request::Vote(request), &option).await? {
            Answer::Vote(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.call(RPCTypes::Vote, Request::PreVote(request), &option).await? {
            Answer::Vote(response) => Ok(response),
            _ => unexpected(),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let read = self.runtime.spawn_blocking("read snapshot", move || snapshot.snapshot.into_content());
        let content = match read.await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => return Err(StreamingError::Network(NetworkError::new(&error))),
            Err(error) => return Err(StreamingError::Network(NetworkError::new(&error))),
        };
        let request = Request::Snapshot { vote, meta: snapshot.meta, content };
        let sending = self.call(RPCTypes::InstallSnapshot, request, &option);
        match select(std::pin::pin!(cancel), std::pin::pin!(sending)).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((Ok(Answer::Snapshot(response)), _)) => Ok(response),
            Either::Right((Ok(_), _)) => unexpected().map_err(StreamingError::from),
            Either::Right((Err(error), _)) => Err(StreamingError::from(error)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let request = Request::TransferLeader {
            from: *request.from_leader(),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().copied(),
        };
        match self.call(RPCTypes::TransferLeader, request, &option).await? {
            Answer::TransferLeader(response) => Ok(response),
            _ => unexpected(),
        }
    }
}

/// The replicas of this node, as requests from others find them.
#[derive(Default)]
pub(crate) struct Router {
    replicas: RwLock<BTreeMap<(ShardId, ReplicaId), Raft>>,
}

impl Router {
    /// Answers the network's requests from now on.
    pub(crate) fn serve(self: &Arc<Self>, network: &dyn Network) {
        let router = Arc::downgrade(self);
        network.serve(Arc::new(move |_from, request| {
            let router = router.upgrade();
            async move {
                let Some(router) = router else {
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the node is gone"));
                };
                router.answer(&request).await
            }
            .boxed()
        }));
    }

    pub(crate) fn add(&self, shard: ShardId, replica: ReplicaId, raft: Raft) {
        self.replicas.write().insert((shard, replica), raft);
    }

    pub(crate) fn clear(&self) {
        let replicas = std::mem::take(&mut *self.replicas.write());
        drop(replicas);
    }

    async fn answer(&self, request: &[u8]) -> io::Result<Bytes> {
        let answer = match codec::decode::<Envelope>(request) {
            Err(error) => Answer::Refused(error.to_string()),
            Ok(envelope) => {
                let raft = self.replicas.read().get(&(envelope.shard, envelope.to)).cloned();
                match raft {
                    None => {
                        Answer::Refused(format!("there is no {} of {} here", envelope.to, envelope.shard))
                    }
                    Some(raft) => dispatch(&raft, envelope.request).await,
                }
            }
        };
        codec::encode(&answer).map(Bytes::from).map_err(io::Error::other)
    }
}

async fn dispatch(raft: &Raft, request: Request) -> Answer {
    fn refused(error: &impl ToString) -> Answer {
        Answer::Refused(error.to_string())
    }
    match request {
        Request::Append(request) => {
            raft.append_entries(request).await.map_or_else(|error| refused(&error), Answer::Append)
        }
        Request::Vote(request) => raft.vote(request).await.map_or_else(|error| refused(&error), Answer::Vote),
        Request::PreVote(request) => {
            raft.pre_vote(request).await.map_or_else(|error| refused(&error), Answer::Vote)
        }
        Request::Snapshot { vote, meta, content } => {
            let snapshot =
                SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot: SnapshotData::Received(content) };
            raft.install_full_snapshot(vote, snapshot)
                .await
                .map_or_else(|error| refused(&error), Answer::Snapshot)
        }
        Request::TransferLeader { from, to, last_log_id } => raft
            .handle_transfer_leader(TransferLeaderRequest::new(from, to, last_log_id))
            .await
            .map_or_else(|error| refused(&error), Answer::TransferLeader),
    }
}

/// The network of a node that has none.
pub(crate) struct NoNetwork;

impl Network for NoNetwork {
    fn call(
        &self,
        to: NodeId,
        _traffic: Traffic,
        _request: Bytes,
    ) -> futures::future::BoxFuture<'static, io::Result<Bytes>> {
        async move { Err(io::Error::new(io::ErrorKind::NotConnected, format!("no network leads to {to}"))) }
            .boxed()
    }

    fn serve(&self, _handler: shardforge_runtime::RequestHandler) {}
}

/// How long openraft may wait for a snapshot to be sent.
pub(crate) fn snapshot_timeout_millis() -> u64 {
    u64::try_from(RPC_TIMEOUT.as_millis()).unwrap_or(u64::MAX).saturating_mul(12)
}
