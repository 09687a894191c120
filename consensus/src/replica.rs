//! This node's replica of a shard: a member of the raft group that replicates it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::channel::mpsc::Sender;
use futures::future::{Either, select};
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::RaftError;
use openraft::{Config, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use shardforge_runtime::{Instant, Network, NodeId, Runtime, TaskHandle};
use tokio::sync::{Notify, Semaphore};

use crate::engine::{Engine, SharedFilter};
use crate::error::{ConsensusError, Result};
use crate::failure::Failure;
use crate::limits::{
    ELECTION_LIMIT, ELECTION_TIMEOUT_MAX, ELECTION_TIMEOUT_MIN, HEARTBEAT_INTERVAL, OPEN_TIMEOUT,
    STOP_TIMEOUT,
};
use crate::proposer::Proposer;
use crate::raft::log_store::{GroupLog, LogStore};
use crate::raft::log_writer::LogWriter;
use crate::raft::network::{Hosted, ORDER_PERMITS, Peers, Router, snapshot_timeout_millis};
use crate::raft::state_machine::{Progress, Report, StateMachine};
use crate::raft::{AllMetrics, Metrics, Raft, StoredMembership, TypeConfig};
use crate::records::{Claims, Records};
use crate::tenure::{Lease, Tenures};
use crate::types::{ReplicaId, ShardId};

/// What the replicas of a node share.
pub(crate) struct ReplicaContext {
    pub runtime: Runtime,
    pub raft_engine: Arc<dyn Engine>,
    pub kv_engine: Arc<dyn Engine>,
    pub writer: Arc<LogWriter>,
    pub network: Arc<dyn Network>,
    pub router: Arc<Router>,
    /// Who may send a snapshot now.
    pub sending: Arc<Semaphore>,
    pub failure: Arc<Failure>,
    pub disk_full: Arc<AtomicBool>,
    pub records: Arc<Records>,
    pub claims: Arc<Claims>,
    /// What compactions may drop.
    pub filter: Option<SharedFilter>,
    /// Where replicas tell what has become of their shards.
    pub reports: Sender<Report>,
    pub tenures: Arc<Tenures>,
}

/// See the module's essay.
pub(crate) struct Replica {
    pub id: ShardId,
    pub name: ReplicaId,
    pub kv: Arc<dyn Engine>,
    raft: Raft,
    pub proposer: Proposer,
    progress: Arc<Progress>,
    leadership: Arc<Leadership>,
    watcher: Mutex<Option<TaskHandle<()>>>,
    sitting_out: Mutex<Option<TaskHandle<()>>>,
    /// Counts the replicas that this one has added to the shard.
    pub added: AtomicU64,
    /// What raft's tasks hold of the storage; gone when they have ended.
    in_use: (Weak<GroupLog>, Weak<()>),
    pub runtime: Runtime,
    pub network: Arc<dyn Network>,
    pub filter: Option<SharedFilter>,
    pub failure: Arc<Failure>,
    disk_full: Arc<AtomicBool>,
    tenures: Arc<Tenures>,
    /// It votes for nobody before, and not for itself either.
    votes_from: Instant,
    /// When it last stood for election on purpose.
    stood_at: Mutex<Option<Instant>>,
}

/// What raft last said about who leads.
#[derive(Default)]
struct Leadership {
    /// The term in which this replica leads; zero when it does not.
    leading_term: AtomicU64,
    /// When it was first seen to lead in that term, in nanoseconds of this node's clock.
    leads_since: AtomicU64,
    /// The same, in microseconds of the wall clock.
    leads_since_micros: AtomicU64,
    /// The newest term seen.
    term: AtomicU64,
    /// The last term in which this replica was asked to hand the leadership over: it leads no more in it.
    handed_over: AtomicU64,
    /// Whether there is no other voter.
    sole_voter: AtomicBool,
    /// Changes of voters that are under way: raft may be further than what it has said.
    changes_of_voters: AtomicUsize,
    changed: Notify,
    /// Has this looked at again.
    look_again: Notify,
}

impl Leadership {
    fn is_sole_voter(&self, members: &StoredMembership, replica: ReplicaId) -> bool {
        self.changes_of_voters.load(Ordering::SeqCst) == 0 && is_sole_voter(members, replica)
    }
}

/// A change of voters that is under way.
pub(crate) struct ChangeOfVoters(Arc<Replica>);

impl ChangeOfVoters {
    pub(crate) fn replica(&self) -> &Replica {
        &self.0
    }
}

impl Drop for ChangeOfVoters {
    fn drop(&mut self) {
        self.0.leadership.changes_of_voters.fetch_sub(1, Ordering::SeqCst);
        self.0.members_changed();
        self.0.look_again();
    }
}

fn raft_config() -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "shardforge".to_owned(),
        heartbeat_interval: millis(HEARTBEAT_INTERVAL),
        election_timeout_min: millis(ELECTION_TIMEOUT_MIN),
        election_timeout_max: millis(ELECTION_TIMEOUT_MAX),
        install_snapshot_timeout: snapshot_timeout_millis(),
        // Purging follows the flushes of kvdb, see maintenance.rs.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        // The state machine may be behind what was acknowledged; only an election and its blank entry make
        // sure that a leader has applied everything.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        api_channel_size: Some(1024),
        notification_channel_size: Some(1024),
        ..Config::default()
    }
}

impl Replica {
    /// Starts a replica of a shard, with what is stored of it.
    pub(crate) async fn start(id: ShardId, name: ReplicaId, context: &ReplicaContext) -> Result<Arc<Self>> {
        let failed = |error: &dyn std::fmt::Display| {
            ConsensusError::Storage(format!("could not start the replica of shard {id}: {error}"))
        };
        let log = GroupLog::open(id, Arc::clone(&context.raft_engine), Arc::clone(&context.writer))?;
        let progress = Arc::<Progress>::default();
        let state_machine = StateMachine::open(
            id,
            context.reports.clone(),
            Arc::clone(&context.records),
            Arc::clone(&context.kv_engine),
            Arc::clone(&progress),
            Arc::clone(&context.failure),
        )?;
        if is_sole_voter(state_machine.membership(), name) {
            check_complete(id, log.bounds(), progress.applied_index.load(Ordering::Acquire))?;
        }
        // It may have promised something before.
        let is_new = !log.has_voted();
        let in_use = (Arc::downgrade(&log), state_machine.in_use());
        let config = raft_config().validate().map_err(|error| failed(&error))?;
        let peers = Peers {
            shard: id,
            network: Arc::clone(&context.network),
            runtime: context.runtime.clone(),
            replica: name,
            sending: Arc::clone(&context.sending),
        };
        let raft = Raft::new(name, Arc::new(config), peers, LogStore::new(log), state_machine)
            .await
            .map_err(|error| failed(&error))?;
        let leadership = Arc::<Leadership>::default();
        // Raft has told its metrics nothing yet.
        let sole_voter = raft
            .with_raft_state(move |state| is_sole_voter(state.membership_state.effective(), name))
            .await
            .map_err(|error| failed(&error))?;
        leadership.sole_voter.store(sole_voter, Ordering::Release);
        let sitting_out = (!sole_voter && !is_new).then(|| sit_out(&raft, &context.runtime));
        let votes_from =
            context.runtime.now() + if sitting_out.is_some() { ELECTION_TIMEOUT_MAX } else { Duration::ZERO };
        let order = Arc::new(Semaphore::new(ORDER_PERMITS as usize));
        context.router.add(id, name, Hosted { raft: raft.clone(), votes_from, order });

        let proposer = Proposer::start(id, raft.clone(), &context.runtime, Arc::clone(&context.failure));
        let replica = Arc::new(Self {
            id,
            name,
            kv: Arc::clone(&context.kv_engine),
            raft,
            proposer,
            progress,
            leadership,
            watcher: Mutex::default(),
            sitting_out: Mutex::new(sitting_out),
            added: AtomicU64::new(0),
            in_use,
            runtime: context.runtime.clone(),
            network: Arc::clone(&context.network),
            filter: context.filter.clone(),
            failure: Arc::clone(&context.failure),
            disk_full: Arc::clone(&context.disk_full),
            tenures: Arc::clone(&context.tenures),
            votes_from,
            stood_at: Mutex::default(),
        });
        let told = (Arc::clone(&replica.leadership), Arc::clone(&replica.progress));
        let watching = watch_leadership(Arc::downgrade(&replica), told, replica.raft.server_metrics());
        *replica.watcher.lock() = Some(context.runtime.spawn("leadership", watching));
        if sole_voter && let Err(error) = replica.elect(&context.runtime).await {
            context.router.remove(id, name);
            replica.stop().await;
            return Err(error);
        }
        Ok(replica)
    }

    /// A sole voter need not wait for anybody: it makes itself leader, and everything in its log is committed
    /// with the first entry of its term. From then on it needs no timers.
    async fn elect(&self, runtime: &Runtime) -> Result<()> {
        let stopped = |error: &dyn std::fmt::Display| ConsensusError::Stopped { reason: error.to_string() };
        if self.raft.server_metrics().borrow_watched().state != ServerState::Leader {
            self.raft.trigger().elect(false).await.map_err(|error| stopped(&error))?;
        }
        let led = runtime.timeout(OPEN_TIMEOUT, self.led());
        led.await.map_err(|_elapsed| {
            stopped(&format!("shard {} could not replay its log within {OPEN_TIMEOUT:?}", self.id))
        })??;
        Ok(())
    }

    /// Stands for election at once, if nobody leads yet; does not wait for the outcome.
    pub(crate) async fn stand(&self) {
        if self.raft.trigger().elect(false).await.is_err() {
            tracing::warn!("the replica of shard {} has stopped before it could stand for election", self.id);
        }
    }

    /// Stands for election, unless a leader is known to a majority that may be alive, or an election is under way; does not wait for
    /// the outcome.
    pub(crate) async fn stand_if_unled(&self) {
        let now = self.runtime.now();
        if now < self.votes_from {
            return;
        }
        let is_candidate = self.raft.server_metrics().borrow_watched().state == ServerState::Candidate;
        {
            let mut stood_at = self.stood_at.lock();
            if is_candidate && stood_at.is_some_and(|at| now < at + ELECTION_LIMIT) {
                return;
            }
            *stood_at = Some(now);
        }
        // Others are asked first whether they would vote for it: raft's terms do not grow in vain.
        if self.raft.trigger().elect(true).await.is_err() {
            tracing::warn!("the replica of shard {} has stopped before it could stand for election", self.id);
        }
    }

    /// When a leader was last heard of here, or voted for; `None` if that was never, or raft has stopped.
    pub(crate) async fn heard_of_leader_at(&self) -> Option<Instant> {
        let heard = self.raft.with_raft_state(|state| state.vote_last_modified()).await.ok()?;
        heard.map(|at| at.into())
    }

    /// Waits until this replica leads, and has applied all that was committed before.
    pub(crate) async fn led(&self) -> Result<()> {
        loop {
            let opened = self.progress.opened.notified();
            let changed = self.leadership.changed.notified();
            let (mut opened, mut changed) = (std::pin::pin!(opened), std::pin::pin!(changed));
            // Registered before the check, so that no change is missed in between.
            opened.as_mut().enable();
            changed.as_mut().enable();
            if self.is_leader() {
                return Ok(());
            }
            if self.failure.has_failed() {
                return Err(ConsensusError::Stopped { reason: self.failure.reason() });
            }
            futures::future::select(opened, changed).await;
        }
    }

    /// Whether this node leads the shard and has applied all that was committed before its term, and so may
    /// serve reads and take proposals. Three atomic loads.
    pub(crate) fn is_leader(&self) -> bool {
        self.led_in().is_some()
    }

    /// The term in which it leads and has applied all that was committed before.
    pub(crate) fn led_in(&self) -> Option<u64> {
        let leading = self.leadership.leading_term.load(Ordering::Acquire);
        let leads = self.leads_in(leading) && self.progress.opened_term.load(Ordering::Acquire) == leading;
        leads.then_some(leading)
    }

    /// When this replica was first seen to lead in the term in which it leads, in microseconds of this node's wall clock.
    pub(crate) fn leads_since_micros(&self) -> u64 {
        self.leadership.leads_since_micros.load(Ordering::Acquire)
    }

    /// As [`Self::leads_since_micros`], by the clock that only goes forward.
    pub(crate) fn leads_since(&self) -> Instant {
        Instant::from_nanos(self.leadership.leads_since.load(Ordering::Acquire))
    }

    /// Whether a majority is known to have answered, at a moment or later, that it follows this leader in a term.
    pub(crate) fn is_followed_since(&self, term: u64, moment: Instant) -> bool {
        match self.lease_in(term) {
            Some(Lease::Unlimited) => true,
            Some(Lease::Since(sent)) => sent >= moment,
            Some(Lease::Unknown) | None => false,
        }
    }

    /// Whether it leads in a term.
    pub(crate) fn leads_in(&self, term: u64) -> bool {
        term != 0
            && self.leadership.leading_term.load(Ordering::Acquire) == term
            && self.leadership.handed_over.load(Ordering::Acquire) != term
    }

    /// How long nobody else can lead, as raft says now; `None` if this replica does not lead in the term.
    pub(crate) fn lease_in(&self, term: u64) -> Option<Lease> {
        let metrics = self.metrics();
        let now = metrics.borrow_watched();
        let leads = now.state == ServerState::Leader
            && (now.current_term, now.vote.leader_id.term) == (term, term)
            && self.leads_in(term);
        if !leads {
            return None;
        }
        if self.leadership.is_sole_voter(&now.membership_config, self.name) {
            return Some(Lease::Unlimited);
        }
        Some(now.last_quorum_acked.map_or(Lease::Unknown, |sent| Lease::Since(sent.into_inner().into())))
    }

    pub(crate) fn metrics(&self) -> WatchReceiverOf<TypeConfig, AllMetrics> {
        self.raft.metrics()
    }

    /// How often the shard has been split, as far as is applied here.
    pub(crate) fn generation(&self) -> u64 {
        self.progress.generation.load(Ordering::Acquire)
    }

    /// Has it be looked at once more who leads.
    pub(crate) fn look_again(&self) {
        self.leadership.look_again.notify_one();
    }

    /// The leadership is about to be handed to somebody else. Whoever relied on it does no more when this returns.
    pub(crate) fn hand_over(&self) {
        self.leadership.handed_over.store(self.term(), Ordering::SeqCst);
        self.tenures.hand_over(self.id);
        self.look_again();
    }

    /// Who votes is about to change: from now on no other voter is overlooked.
    pub(crate) fn change_of_voters(self: &Arc<Self>) -> ChangeOfVoters {
        self.leadership.changes_of_voters.fetch_add(1, Ordering::SeqCst);
        self.members_changed();
        ChangeOfVoters(Arc::clone(self))
    }

    fn members_changed(&self) {
        let metrics = self.raft.server_metrics();
        let sole_voter =
            self.leadership.is_sole_voter(&metrics.borrow_watched().membership_config, self.name);
        self.leadership.sole_voter.store(sole_voter, Ordering::Release);
        self.tenures.renew(self);
    }

    /// The newest term that this replica has seen; the one it leads in, if it leads.
    pub(crate) fn term(&self) -> u64 {
        self.leadership.term.load(Ordering::Acquire)
    }

    /// The index of the last raft entry that was applied here.
    pub(crate) fn applied_index(&self) -> u64 {
        self.progress.applied_index.load(Ordering::Acquire)
    }

    /// Makes sure that this replica still leads, so that what it reads next is the newest state.
    ///
    /// A sole voter cannot have been replaced; otherwise the leader's lease is checked, and renewed by a round
    /// of heartbeats if need be.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], and [`ConsensusError::Stopped`].
    pub(crate) async fn ensure_readable(&self) -> Result<()> {
        if !self.is_leader() {
            return Err(self.not_leader());
        }
        if self.is_sole_voter() {
            return Ok(());
        }
        match self.raft.ensure_linearizable(ReadPolicy::LeaseRead).await {
            Ok(_read_at) => Ok(()),
            Err(RaftError::APIError(_)) => Err(self.not_leader()),
            Err(RaftError::Fatal(error)) => Err(ConsensusError::Stopped { reason: error.to_string() }),
        }
    }

    pub(crate) fn not_leader(&self) -> ConsensusError {
        if self.failure.has_failed() {
            return ConsensusError::Stopped { reason: self.failure.reason() };
        }
        ConsensusError::NotLeader { shard: self.id, leader: self.known_leader() }
    }

    /// The node that leads the shard, or has led it last, as this replica knows.
    pub(crate) fn known_leader(&self) -> Option<NodeId> {
        let metrics = self.raft.server_metrics();
        let server = metrics.borrow_watched();
        let leader = server.current_leader?;
        server.membership_config.get_node(&leader).map(|at| NodeId(at.node))
    }

    /// Whether a command may be proposed here and now; `puts` says whether it takes space.
    pub(crate) fn check_writable(&self, puts: bool) -> Result<()> {
        if self.failure.has_failed() {
            return Err(ConsensusError::Stopped { reason: self.failure.reason() });
        }
        // Deleting frees space in the end, and must stay possible.
        if self.disk_full.load(Ordering::Acquire) && puts {
            return Err(ConsensusError::DiskFull);
        }
        Ok(())
    }

    /// Whether the shard has no other voter.
    pub(crate) fn is_sole_voter(&self) -> bool {
        self.leadership.sole_voter.load(Ordering::Acquire)
    }

    /// Whether no other node has a replica of the shard.
    pub(crate) fn is_alone(&self) -> bool {
        self.raft.server_metrics().borrow_watched().membership_config.nodes().count() <= 1
    }

    /// Lets the other replicas know now what is committed.
    pub(crate) async fn hurry(&self) {
        if !self.is_alone() && self.raft.trigger().heartbeat().await.is_err() {
            tracing::warn!("the replica of shard {} has stopped", self.id);
        }
    }

    /// The first term in which the shard had a leader, if it began since this node was opened.
    pub(crate) fn first_term(&self) -> Option<u64> {
        Some(self.progress.first_term.load(Ordering::Acquire)).filter(|term| *term != 0)
    }

    /// The index of the last raft entry that was purged here; zero when none was.
    pub(crate) fn purged_index(&self) -> u64 {
        self.raft.data_metrics().borrow_watched().purged.map_or(0, |purged| purged.index)
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Ends the replica; what is applied stays.
    pub(crate) async fn stop(&self) {
        self.proposer.stop().await;
        if self.raft.shutdown().await.is_err() {
            tracing::error!("the raft task of shard {} ended by a panic", self.id);
        }
        let watcher = self.watcher.lock().take();
        let sitting_out = self.sitting_out.lock().take();
        for task in [watcher, sitting_out].into_iter().flatten() {
            task.abort();
        }
        // Raft does not wait for its worker; whoever opens the storage again has to.
        let deadline = self.runtime.now() + STOP_TIMEOUT;
        while self.in_use.0.strong_count() + self.in_use.1.strong_count() > 0 {
            if self.runtime.now() > deadline {
                tracing::warn!("the raft tasks of shard {} have not ended after {STOP_TIMEOUT:?}", self.id);
                return;
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Whether log and data of a replica that nobody else can help are of one piece: every entry was in the log before it
/// was applied, and was purged only after the data had been flushed.
fn check_complete(shard: ShardId, (purged, last): (u64, u64), applied: u64) -> Result<()> {
    let problem = if applied > last {
        format!(
            "the raft log ends with entry {last}, but the data has entry {applied} already: raftdb has lost entries"
        )
    } else if purged > applied {
        format!(
            "the data ends with entry {applied}, but the raft log begins after entry {purged}: kvdb has lost data"
        )
    } else {
        return Ok(());
    };
    Err(ConsensusError::Corrupt(format!(
        "shard {shard}: {problem}; restore the data directory from a backup"
    )))
}

/// Whether a replica is the only voter among these members.
fn is_sole_voter(members: &StoredMembership, replica: ReplicaId) -> bool {
    members.voter_ids().collect::<BTreeSet<_>>() == BTreeSet::from([replica])
}

/// Keeps a replica that was started again from voting for itself until every lease is over that it may have helped to grant:
/// it does not know of them any more. Others' requests for its vote wait as long, see the router.
fn sit_out(raft: &Raft, runtime: &Runtime) -> TaskHandle<()> {
    let raft = raft.clone();
    raft.runtime_config().elect(false);
    let over = runtime.sleep(ELECTION_TIMEOUT_MAX);
    runtime.spawn("sit out", async move {
        over.await;
        raft.runtime_config().elect(true);
    })
}

/// Copies who leads from raft's metrics to where it can be read without a lock, until raft ends.
///
/// It may be late. That a sole voter has become one of several counts before another can lead: whoever votes for that one
/// has to have heard nothing of this one for [`ELECTION_TIMEOUT_MAX`].
async fn watch_leadership(
    replica: Weak<Replica>,
    (leadership, progress): (Arc<Leadership>, Arc<Progress>),
    mut metrics: WatchReceiverOf<TypeConfig, Metrics>,
) {
    loop {
        let mut opened = std::pin::pin!(progress.opened.notified());
        // Registered before the look, so that nothing is missed in between.
        opened.as_mut().enable();
        {
            // Holding the replica would keep raft alive when nobody else does.
            let Some(replica) = replica.upgrade() else { return };
            // Read first: if the shard has had a leader, raft has said by then who it was.
            let first_term = replica.first_term();
            {
                let server = metrics.borrow_watched();
                let term = server.vote.leader_id.term;
                let leads = server.state == ServerState::Leader;
                let members = &server.membership_config;
                let sole_voter = leadership.is_sole_voter(members, replica.name);
                leadership.sole_voter.store(sole_voter, Ordering::Release);
                leadership.term.store(term, Ordering::Release);
                if leads && leadership.leading_term.load(Ordering::Acquire) != term {
                    leadership.leads_since.store(replica.runtime.now().as_nanos(), Ordering::Release);
                    leadership.leads_since_micros.store(replica.runtime.wall_micros(), Ordering::Release);
                }
                leadership.leading_term.store(if leads { term } else { 0 }, Ordering::Release);
                // A leader that has nobody to talk to needs no timers.
                replica.raft.runtime_config().tick(!leads || members.nodes().count() > 1);
            }
            leadership.changed.notify_waiters();
            replica.tenures.check(&replica, first_term);
        }
        let again = pin!(leadership.look_again.notified());
        let told = select(opened, again);
        if let Either::Left((Err(_), _)) = select(pin!(metrics.changed()), told).await {
            leadership.leading_term.store(0, Ordering::Release);
            leadership.changed.notify_waiters();
            let Some(replica) = replica.upgrade() else { return };
            replica.tenures.check(&replica, None);
            return;
        }
    }
}
