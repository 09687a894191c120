//! Which replicas a node has: how they come, change and go.
//!
//! ```text
//!   a split was applied       state machine --Report::Split------>
//!   a snapshot was installed  state machine --Report::Installed-->   Host   --> replicas, claims, routing
//!   a request for a new one   router        --Order::Create------>  (one task)
//!   a member no more          router        --Order::Remove------>
//! ```
//!
//! One task does all of it, one thing after the other.
//!
//! Invariants:
//! - A replica that others rely on is there after a crash with all that it had when it first answered. One that was added
//!   has a record (`records.rs`) from before; one that a split has made is started when the split is durable in `kvdb`,
//!   unless nobody else has a part in the shard: then the left shard's log repeats the split, and nothing else can come.
//! - A replica that has been removed never comes back, nor one before it. Its data goes when all that its shard has split
//!   off is durable, so what is deleted is its own: no two shards claim the same key.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::channel::mpsc::Receiver;
use futures::channel::oneshot;
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use crate::engine::{Durability, Engine, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::extent::Extent;
use crate::limits::{NODE_ID_END, REPLICAS_STARTING_MAX};
use crate::raft::log_store::GroupLog;
use crate::raft::state_machine::{Report, SplitReport, erase};
use crate::records::Record;
use crate::replica::{Replica, ReplicaContext};
use crate::routing::Routing;
use crate::shard::{Origin, Shard};
use crate::types::{ReplicaId, ShardId};

/// What the router asks for.
pub(crate) enum Order {
    /// A replica that others speak to, and that is not here.
    Create { shard: ShardId, replica: ReplicaId, reply: oneshot::Sender<Result<()>> },
    /// The end of one that is no member any more.
    Remove { shard: ShardId, replica: ReplicaId, reply: oneshot::Sender<Result<()>> },
}

/// The replicas that are running.
pub(crate) type Replicas = Arc<Mutex<BTreeMap<ShardId, Arc<Replica>>>>;

/// See the module's essay.
pub(crate) struct Host {
    pub context: ReplicaContext,
    pub routing: Arc<Routing>,
    pub replicas: Replicas,
}

impl Host {
    /// Starts all replicas that are stored here, and those that their logs have split off since.
    pub(crate) async fn start_all(&self, reports: &mut Receiver<Report>) -> Result<()> {
        let records = &self.context.records;
        for (shard, _) in records.all().into_iter().filter(|(_, record)| record.removed) {
            // Its removal may not have come to its end.
            self.erase(shard).await?;
        }
        // Their elections share syncs of the log.
        let starts = Extent::load_all(&*self.context.kv_engine)?.into_iter().map(|extent| async move {
            let replica = Replica::start(extent.shard, records.replica(extent.shard), &self.context).await?;
            Ok((replica, extent))
        });
        let mut starting = stream::iter(starts).buffer_unordered(REPLICAS_STARTING_MAX);
        let mut outcome: Result<()> = Ok(());
        while let Some(started) = starting.next().await {
            match started {
                // What is running is known, whatever became of the others: it has to be stopped then.
                Ok((replica, extent)) => self.add(replica, extent, None),
                Err(error) => outcome = Err(error),
            }
        }
        drop(starting);
        outcome?;
        // A sole voter has replayed all of its log when it has started, and has reported every split in it.
        while let Ok(report) = reports.try_recv() {
            self.follow(report).await?;
        }
        for (shard, record) in records.all() {
            if !record.removed && !self.replicas.lock().contains_key(&shard) {
                self.start_empty(shard, record.replica).await?;
            }
        }
        Ok(())
    }

    /// Stops what was started.
    pub(crate) async fn stop_all(&self) {
        let replicas: Vec<_> = self.replicas.lock().values().cloned().collect();
        for replica in replicas {
            replica.stop().await;
        }
    }

    /// Does what is asked until the node stops.
    pub(crate) async fn run(self, mut reports: Receiver<Report>, mut orders: Receiver<Order>) {
        loop {
            let result = tokio::select! {
                biased;
                report = reports.next() => match report {
                    Some(report) if !self.routing.is_closed() => self.follow(report).await,
                    _ => return,
                },
                order = orders.next() => match order {
                    Some(order) if !self.routing.is_closed() => self.obey(order).await,
                    _ => return,
                },
            };
            if let Err(error) = result {
                // Its keys would be nobody's; a restart finds what is stored.
                self.context.failure.report(&format!("could not keep the replicas in order: {error}"));
                self.routing.close();
                return;
            }
        }
    }

    async fn follow(&self, report: Report) -> Result<()> {
        match report {
            Report::Split(split) => self.follow_split(split).await,
            Report::Installed(extent) => {
                let replica = self.replicas.lock().get(&extent.shard).cloned();
                let stored = Extent::load(&*self.context.kv_engine, extent.shard)?;
                // It may have been removed since, or split again: then there is more to follow.
                if let Some(replica) = replica
                    && stored.is_some_and(|stored| stored.generation >= extent.generation)
                {
                    self.add(replica, extent, None);
                }
                Ok(())
            }
        }
    }

    async fn obey(&self, order: Order) -> Result<()> {
        let (result, reply) = match order {
            Order::Create { shard, replica, reply } => (self.create(shard, replica).await, reply),
            Order::Remove { shard, replica, reply } => (self.remove(shard, replica).await, reply),
        };
        // A request may be refused; storage that fails ends the node.
        let fatal = match &result {
            Err(error @ (ConsensusError::Storage(_) | ConsensusError::Corrupt(_))) => Err(error.clone()),
            _ => Ok(()),
        };
        let _gone = reply.send(result);
        fatal
    }

    /// Makes a replica known that has its extent.
    fn add(&self, replica: Arc<Replica>, extent: Extent, origin: Option<Origin>) {
        self.context.claims.set(extent.shard, extent.range.clone());
        self.replicas.lock().insert(extent.shard, Arc::clone(&replica));
        self.routing.put(Arc::new(Shard::new(replica, extent, origin)));
    }

    /// A shard has become two here.
    async fn follow_split(&self, split: SplitReport) -> Result<()> {
        let SplitReport { left, right, right_is_here, term } = split;
        let parent = self.replicas.lock().get(&left.shard).cloned();
        let origin = Origin { parent: left.shard, parent_term: term };
        let mut started = None;
        if right_is_here && self.is_stored(right.shard)? {
            let alone = parent.as_ref().is_some_and(|parent| parent.is_alone());
            if !alone {
                self.flush().await?;
            }
            // Others may have spoken to it before the split came here; what it has promised to them is in its log.
            let empty = self.replicas.lock().remove(&right.shard);
            if let Some(empty) = empty {
                self.context.router.remove(right.shard, empty.name);
                empty.stop().await;
            }
            let replica = Replica::start(right.shard, self.context.records.first(), &self.context).await?;
            if !alone && parent.is_some_and(|parent| parent.is_leader()) {
                // Whoever led these keys is to go on leading them.
                replica.stand().await;
            }
            started = Some(replica);
        }
        // What is left may have been removed since.
        let stored = Extent::load(&*self.context.kv_engine, left.shard)?;
        let left = stored.is_some_and(|stored| stored.generation >= left.generation).then_some(left);
        if let Some(left) = &left {
            self.context.claims.set(left.shard, left.range.clone());
        }
        let right = started.map(|replica| {
            self.context.claims.set(right.shard, right.range.clone());
            self.replicas.lock().insert(right.shard, Arc::clone(&replica));
            Arc::new(Shard::new(replica, right, Some(origin)))
        });
        self.routing.split(left, right);
        Ok(())
    }

    /// Whether a replica has an extent.
    fn is_stored(&self, shard: ShardId) -> Result<bool> {
        Ok(Extent::load(&*self.context.kv_engine, shard)?.is_some())
    }

    /// Makes an empty replica, if it may be.
    async fn create(&self, shard: ShardId, replica: ReplicaId) -> Result<()> {
        let refused = |reason: &str| {
            Err(ConsensusError::Refused(format!("{replica} of {shard} cannot be made: {reason}")))
        };
        let running = self.replicas.lock().get(&shard).map(|running| running.name);
        if running == Some(replica) {
            return Ok(());
        }
        let first = self.context.records.first();
        if replica != first && replica.0 < NODE_ID_END {
            return refused("it is another node's");
        }
        let newest = self.context.records.get(shard).map(|record| record.replica).max(running);
        match newest {
            Some(newest) if newest >= replica => {
                return refused("it has been removed, or a later one is here");
            }
            // Its node is no member before it may get another replica.
            Some(older) => self.remove(shard, older).await?,
            None => {}
        }
        self.context.records.set(shard, Record { replica, removed: false }).await?;
        self.start_empty(shard, replica).await
    }

    /// Starts a replica that has no extent.
    async fn start_empty(&self, shard: ShardId, name: ReplicaId) -> Result<()> {
        let log =
            GroupLog::open(shard, Arc::clone(&self.context.raft_engine), Arc::clone(&self.context.writer))?;
        if !log.is_empty() {
            return Err(ConsensusError::Corrupt(format!(
                "shard {shard} has a raft log, but no data: kvdb has lost it; restore the data directory from a backup"
            )));
        }
        drop(log);
        let replica = Replica::start(shard, name, &self.context).await?;
        self.replicas.lock().insert(shard, replica);
        Ok(())
    }

    /// Removes a replica that is no member of its shard any more, with its data.
    async fn remove(&self, shard: ShardId, replica: ReplicaId) -> Result<()> {
        let running = self.replicas.lock().get(&shard).cloned();
        let newest = self.context.records.get(shard).map(|record| record.replica);
        if newest.max(running.as_ref().map(|running| running.name)) > Some(replica) {
            return Ok(());
        }
        if let Some(running) = running {
            self.routing.remove(shard);
            self.context.router.remove(shard, running.name);
            running.stop().await;
            self.replicas.lock().remove(&shard);
        }
        // What was split off it is to be durable before what it has is deleted.
        self.flush().await?;
        self.context.records.set(shard, Record { replica, removed: true }).await?;
        self.erase(shard).await
    }

    /// Deletes all that is stored of a shard's replica.
    async fn erase(&self, shard: ShardId) -> Result<()> {
        let extent = Extent::load(&*self.context.kv_engine, shard)?;
        if extent.is_some() {
            let mut batch = WriteBatch::new();
            erase(shard, extent.as_ref(), &mut batch);
            self.context.kv_engine.write(&batch, Durability::Buffered)?;
            // Whoever claims the range next must not find it again.
            self.flush().await?;
        }
        let mut batch = WriteBatch::new();
        GroupLog::erase(shard, &mut batch);
        self.context.writer.write(batch).await?;
        self.context.claims.give_up(shard);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        let engine: Arc<dyn Engine> = Arc::clone(&self.context.kv_engine);
        let flushing = self.context.runtime.spawn_blocking("flush kvdb", move || engine.flush());
        flushing.await.map_err(|error| ConsensusError::Storage(error.to_string()))?
    }
}
