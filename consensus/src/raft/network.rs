//! The transport: raft's requests between replicas, over [`Network`].
//!
//! ```text
//!   leader's replication task                     the other node
//!     Peer::append_entries --- Envelope ---> Network ---> Router::serve --> its replica's Raft
//!                          <--- Answer  ---
//! ```
//!
//! A request names the shard and the replica it is meant for. A node that has no such replica makes it, empty, unless it
//! has had it or a later one before (`host.rs`); replica ids are never used twice, so a message cannot reach the
//! successor of the one it was meant for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::mpsc::Sender;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use openraft::alias::SnapshotOf;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use shardforge_runtime::{Instant, Network, NodeId, Runtime, Traffic};
use tokio::sync::{Notify, Semaphore};

use super::snapshot::SnapshotData;
use super::transfer::{Incoming, SnapshotPart};
use super::{LogId, Placement, Raft, TypeConfig, Vote, codec};
use crate::cluster;
use crate::error::{ConsensusError, Result};
use crate::host::Order;
use crate::limits::{APPEND_TIMEOUT, RPC_TIMEOUT, SNAPSHOT_IDLE_MAX, SPLIT_WAIT_MAX};
use crate::types::{ReplicaId, ShardId};

/// A request, as it travels.
#[derive(Serialize, Deserialize)]
enum Message {
    /// To a replica of a shard.
    Replica(Envelope),
    /// To the node's part in its cluster.
    Cluster(cluster::Request),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    shard: ShardId,
    to: ReplicaId,
    request: Request,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot(SnapshotPart),
    TransferLeader {
        from: Vote,
        to: ReplicaId,
        last_log_id: Option<LogId>,
    },
    /// The replica is no member of its shard any more.
    Remove,
}

impl Request {
    /// Heartbeats are appends of nothing: they must arrive however much is being replicated or copied.
    fn traffic(&self) -> Traffic {
        match self {
            Self::Append(append) if !append.entries.is_empty() => Traffic::Raft,
            Self::Append(_) | Self::Vote(_) | Self::PreVote(_) | Self::TransferLeader { .. } => {
                Traffic::Control
            }
            // Deleting takes a while.
            Self::Remove => Traffic::Request,
            Self::Snapshot { .. } => Traffic::Bulk,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    Cluster(cluster::Answer),
    /// Done, and there is nothing to say.
    Done,
    Refused(String),
}

/// Makes the connections of one shard's replica to the others.
pub(crate) struct Peers {
    pub shard: ShardId,
    pub network: Arc<dyn Network>,
    pub runtime: Runtime,
    pub replica: ReplicaId,
    /// Shared by all who send snapshots from this node.
    pub sending: Arc<Semaphore>,
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
            sending: Arc::clone(&self.sending),
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
    pub(super) runtime: Runtime,
    sending: Arc<Semaphore>,
}

pub(super) type RpcResult<T> = std::result::Result<T, RPCError<TypeConfig>>;

impl Peer {
    async fn call(&self, kind: RPCTypes, request: Request, option: &RPCOption) -> RpcResult<Answer> {
        let limit = match &request {
            // openraft would have all answers within a heartbeat's interval, and send the same entries again otherwise. To a disk
            // that is slow, or to one that many wait for, they would be only more to write.
            Request::Append(append) if !append.entries.is_empty() => APPEND_TIMEOUT,
            // It waits no longer itself.
            _ => option.hard_ttl(),
        };
        self.call_within(kind, request, limit).await
    }

    pub(super) async fn call_within(
        &self,
        kind: RPCTypes,
        request: Request,
        limit: Duration,
    ) -> RpcResult<Answer> {
        let traffic = request.traffic();
        let message = Message::Replica(Envelope { shard: self.shard, to: self.to, request });
        let bytes = codec::encode(&message).map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
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

pub(super) fn unexpected<T>() -> RpcResult<T> {
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
    ) -> std::result::Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.soft_ttl();
        let sending = async {
            // Dropped with the sending.
            let _turn = self.sending.acquire().await;
            self.send_snapshot(vote, snapshot, limit).await
        };
        match select(std::pin::pin!(cancel), std::pin::pin!(sending)).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((response, _)) => response.map_err(StreamingError::from),
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

/// A replica as requests find it.
#[derive(Clone)]
pub(crate) struct Hosted {
    pub raft: Raft,
    /// It votes for nobody before.
    pub votes_from: Instant,
    /// Held alone while a snapshot is installed, and shared by all other requests: openraft ends the process when it is
    /// to install one while entries that came before are still on their way to the disk.
    pub order: Arc<Semaphore>,
}

/// The permits of [`Hosted::order`]: one for a request, all for a snapshot.
pub(crate) const ORDER_PERMITS: u32 = 1 << 20;

/// What answers requests to a node's part in its cluster.
pub(crate) type ClusterHandler =
    Arc<dyn Fn(NodeId, cluster::Request) -> BoxFuture<'static, cluster::Answer> + Send + Sync>;

/// The replicas of this node, as requests from others find them.
pub(crate) struct Router {
    runtime: Runtime,
    node: NodeId,
    replicas: RwLock<BTreeMap<(ShardId, ReplicaId), Hosted>>,
    /// Woken when a replica was added.
    added: Notify,
    /// Who makes replicas that requests ask for; nobody while the node is being opened.
    host: OnceLock<Mutex<Sender<Order>>>,
    /// The node's part in its cluster, if it has one.
    cluster: RwLock<Option<ClusterHandler>>,
    pub(super) incoming: Incoming,
}

impl Router {
    pub(crate) fn new(runtime: Runtime, node: NodeId, incoming: Incoming) -> Self {
        Self {
            runtime,
            node,
            replicas: RwLock::default(),
            added: Notify::new(),
            host: OnceLock::new(),
            cluster: RwLock::default(),
            incoming,
        }
    }

    /// Answers the network's requests from now on.
    pub(crate) fn serve(self: &Arc<Self>, network: &dyn Network) {
        let router = Arc::downgrade(self);
        network.serve(Arc::new(move |from, request| {
            let router = router.upgrade();
            async move {
                let Some(router) = router else {
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the node is gone"));
                };
                router.answer(from, &request).await
            }
            .boxed()
        }));
    }

    /// Has replicas made from now on that requests ask for.
    pub(crate) fn host_with(&self, host: Sender<Order>) {
        // Set once, by the node that owns this.
        let _set = self.host.set(Mutex::new(host));
    }

    /// Has requests to the node's part in its cluster answered from now on.
    pub(crate) fn serve_cluster(&self, handler: ClusterHandler) {
        *self.cluster.write() = Some(handler);
    }

    /// Lets requests reach a replica, those for its vote from a moment on.
    pub(crate) fn add(&self, shard: ShardId, replica: ReplicaId, hosted: Hosted) {
        self.replicas.write().insert((shard, replica), hosted);
        self.added.notify_waiters();
    }

    pub(crate) fn remove(&self, shard: ShardId, replica: ReplicaId) {
        let gone = self.replicas.write().remove(&(shard, replica));
        drop(gone);
        self.incoming.forget(shard, replica);
    }

    pub(crate) fn clear(&self) {
        let replicas = std::mem::take(&mut *self.replicas.write());
        drop(replicas);
        self.incoming.clear();
    }

    async fn answer(&self, from: NodeId, request: &[u8]) -> io::Result<Bytes> {
        let answer = match codec::decode::<Message>(request) {
            Err(error) => Answer::Refused(error.to_string()),
            Ok(Message::Cluster(request)) => {
                let handler = self.cluster.read().clone();
                match handler {
                    Some(handler) => Answer::Cluster(handler(from, request).await),
                    None => Answer::Refused("the node is not serving".to_owned()),
                }
            }
            Ok(Message::Replica(envelope)) => self.answer_for_replica(envelope).await,
        };
        codec::encode(&answer).map(Bytes::from).map_err(io::Error::other)
    }

    async fn answer_for_replica(&self, envelope: Envelope) -> Answer {
        match envelope {
            Envelope { shard, to, request: Request::Remove } => {
                let removed = self.order(|reply| Order::Remove { shard, replica: to, reply }).await;
                removed.map_or_else(|error| Answer::Refused(error.to_string()), |()| Answer::Done)
            }
            envelope => match self.replica(envelope.shard, envelope.to).await {
                Err(error) => Answer::Refused(error.to_string()),
                Ok(Hosted { raft, votes_from, order }) => match envelope.request {
                    Request::Snapshot(part) => {
                        self.incoming.take_in(envelope.shard, envelope.to, (raft, order), part).await
                    }
                    request if asks_for_vote(&request) && self.runtime.now() < votes_from => {
                        Answer::Refused("the replica sits out the leases that it may have granted".to_owned())
                    }
                    request => {
                        // In a task of its own: it goes on when the caller waits no longer, and so does what it holds.
                        let handling = self.runtime.spawn("raft request", async move {
                            let _shared = order.acquire().await;
                            dispatch(&raft, request).await
                        });
                        handling.await.unwrap_or_else(|error| Answer::Refused(error.to_string()))
                    }
                },
            },
        }
    }

    fn known(&self, shard: ShardId, replica: ReplicaId) -> Option<Hosted> {
        self.replicas.read().get(&(shard, replica)).cloned()
    }

    /// A replica of this node, which is made if it is new.
    async fn replica(&self, shard: ShardId, replica: ReplicaId) -> Result<Hosted> {
        if let Some(hosted) = self.known(shard, replica) {
            return Ok(hosted);
        }
        // Most likely a split makes it, which has come to others first. Made from that it needs no snapshot.
        if replica.0 == self.node.0 {
            let waiting = self.runtime.timeout(SPLIT_WAIT_MAX, self.until_added(shard, replica));
            if let Ok(hosted) = waiting.await {
                return Ok(hosted);
            }
        }
        self.order(|reply| Order::Create { shard, replica, reply }).await?;
        self.known(shard, replica)
            .ok_or_else(|| ConsensusError::Storage(format!("there is no {replica} of {shard} here")))
    }

    async fn until_added(&self, shard: ShardId, replica: ReplicaId) -> Hosted {
        loop {
            let mut added = std::pin::pin!(self.added.notified());
            // Registered before the check, so that none is missed in between.
            added.as_mut().enable();
            if let Some(hosted) = self.known(shard, replica) {
                return hosted;
            }
            added.await;
        }
    }

    /// Has the host do something, and waits until it is done.
    async fn order(&self, order: impl FnOnce(oneshot::Sender<Result<()>>) -> Order) -> Result<()> {
        let stopped = || ConsensusError::Stopped { reason: "the node is not serving".to_owned() };
        let (reply, done) = oneshot::channel();
        let host = self.host.get().ok_or_else(stopped)?;
        let sent = host.lock().try_send(order(reply));
        sent.map_err(|error| match error.is_full() {
            true => ConsensusError::Refused("too many replicas are being made or removed here".to_owned()),
            false => stopped(),
        })?;
        done.await.map_err(|_canceled| stopped())?
    }
}

/// Tells a node that its replica of a shard is no member any more, and waits until the replica's data is gone.
pub(crate) async fn remove_from(
    network: &dyn Network,
    runtime: &Runtime,
    node: NodeId,
    shard: ShardId,
    replica: ReplicaId,
) -> Result<()> {
    let failed = |reason: String| {
        ConsensusError::Refused(format!("could not have {node} remove {replica} of {shard}: {reason}"))
    };
    let request = Message::Replica(Envelope { shard, to: replica, request: Request::Remove });
    let request = codec::encode(&request)?;
    let calling = network.call(node, Traffic::Request, Bytes::from(request));
    let answer = runtime.timeout(SNAPSHOT_IDLE_MAX, calling).await;
    let answer = answer.map_err(|_elapsed| failed("no answer".to_owned()))?;
    match codec::decode(&answer.map_err(|error| failed(error.to_string()))?)? {
        Answer::Done => Ok(()),
        Answer::Refused(reason) => Err(failed(reason)),
        _ => Err(failed("the answer belongs to another request".to_owned())),
    }
}

/// Asks another node's part in the cluster for something.
pub(crate) async fn call_node(
    network: &dyn Network,
    runtime: &Runtime,
    to: NodeId,
    request: cluster::Request,
    limit: Duration,
) -> io::Result<cluster::Answer> {
    let traffic = request.traffic();
    let request = codec::encode(&Message::Cluster(request)).map_err(io::Error::other)?;
    let answer = runtime.timeout(limit, network.call(to, traffic, Bytes::from(request))).await;
    let answer = answer.map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, "no answer"))??;
    match codec::decode(&answer).map_err(io::Error::other)? {
        Answer::Cluster(answer) => Ok(answer),
        Answer::Refused(reason) => Err(io::Error::other(reason)),
        _ => Err(io::Error::other("the answer belongs to another request")),
    }
}

/// Whether a request wants a vote that is the replica's to give: the one that a leader has transferred is not.
fn asks_for_vote(request: &Request) -> bool {
    match request {
        Request::Vote(request) => !request.leadership_transfer,
        Request::PreVote(_) => true,
        Request::Append(_) | Request::Snapshot(_) | Request::TransferLeader { .. } | Request::Remove => false,
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
        Request::TransferLeader { from, to, last_log_id } => raft
            .handle_transfer_leader(TransferLeaderRequest::new(from, to, last_log_id))
            .await
            .map_or_else(|error| refused(&error), Answer::TransferLeader),
        Request::Snapshot(_) | Request::Remove => Answer::Refused("not a request to raft".to_owned()),
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
