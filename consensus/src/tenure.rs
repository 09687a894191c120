//! The time in which one node, and it alone, may serve what all shards hold.
//!
//! ```text
//!   leads the system shard ------------------------------------------------------------ lost
//!     leads every data shard, all applied ------------------------- one lost
//!       Node::tenure() = Some                                         |
//!       |------------------------ Tenure::is_valid ------------------>|  ended
//!          sent heartbeats    x     x     x     x
//!          valid until          x+lease, again and again
//! ```
//!
//! Whoever opens something on the data that remembers more than the data says (locks, snapshots, a clock) does so in a
//! tenure, makes its proposals through it, and asks [`Tenure::is_valid`] after each read, before what was read is used.
//!
//! Why nobody else serves meanwhile: another node's tenure begins with its leading the system shard, in a later term. For that
//! a majority has to vote for it, and who has answered a heartbeat of this leader votes for nobody for
//! [`ELECTION_TIMEOUT_MAX`] after it arrived, nor does one that was started again (`replica.rs`). So from the moment when a
//! heartbeat was *sent* that a majority has answered, nobody else leads for that long. Clocks may run at
//! different rates: this side counts a part less ([`LEASE_MARGIN_SHARE`]). A transfer of leadership does not wait for the
//! lease, so [`crate::Shard::transfer_leadership`] ends the tenure before it asks raft.
//!
//! Why this node has all that was written in tenures of others: when it begins to lead the system shard, those are over, and its own
//! begins when a majority of each data shard's replicas has answered, since then, that it follows this node. A leader that was
//! cut off or stopped for a while might otherwise not know yet that it has been replaced.
//!
//! Why nothing of an old tenure is carried out in a later one: each proposal carries the term in which the tenure leads its
//! shard. A tenure of another node has other terms. One of the same node may have the same: then [`Tenure::settle`] waits until
//! all that was proposed before is carried out or never will be, and what an ended tenure proposes is refused in the
//! queue itself (`proposer.rs`).
//!
//! A shard that is split in a tenure goes on in it: the right shard belongs to it in its first term, if it was split off in the
//! term of the tenure, and if this node leads it then. If another node comes first, the tenure ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};

use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt, stream};
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use parking_lot::{Mutex, RwLock};
use shardforge_runtime::{Instant, Runtime};
use tokio::sync::{Notify, watch};

use crate::command::{Applied, Command};
use crate::error::{ConsensusError, Result};
use crate::limits::{BARRIERS_AT_ONCE_MAX, ELECTION_TIMEOUT_MAX, LEASE_MARGIN_SHARE};
use crate::raft::{AllMetrics, TypeConfig};
use crate::replica::Replica;
use crate::routing::{Routing, ShardMap};
use crate::shard::{Lineage, Shard};
use crate::types::{DATA_START, ShardId};

/// Until when a tenure is valid that has ended.
const ENDED: u64 = 0;
/// Until when it is valid while no other node votes.
const UNLIMITED: u64 = u64::MAX;

/// How long nobody else can lead a shard in a later term.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lease {
    /// As long as nobody else votes.
    Unlimited,
    /// For some time after the sending of the newest messages that a majority has answered.
    Since(Instant),
    /// No majority has answered yet.
    Unknown,
}

impl Lease {
    /// In nanoseconds of this node's clock.
    fn valid_until(self) -> u64 {
        let length = ELECTION_TIMEOUT_MAX - ELECTION_TIMEOUT_MAX / LEASE_MARGIN_SHARE;
        match self {
            Self::Unlimited => UNLIMITED,
            Self::Since(sent) => (sent + length).as_nanos(),
            // The least that is no end.
            Self::Unknown => ENDED + 1,
        }
    }
}

/// The term in which each shard is led.
type Terms = Arc<RwLock<BTreeMap<ShardId, u64>>>;

/// See the module's essay. Cheap to clone. It is a handle of its node's storage, as a [`Shard`] is.
#[derive(Clone)]
pub struct Tenure(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    routing: Arc<Routing>,
    tenures: Arc<Tenures>,
    /// In nanoseconds of the runtime's clock.
    valid_until: AtomicU64,
    /// In microseconds of the wall clock.
    began_micros: u64,
    terms: Terms,
    /// Those of this node's tenure before.
    terms_before: Option<Terms>,
    end: Arc<End>,
}

/// How a tenure ended.
#[derive(Default)]
struct End {
    reason: OnceLock<String>,
    told: Notify,
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure")
            .field("terms", &*self.0.terms.read())
            .field("ended", &self.0.end.reason.get())
            .finish_non_exhaustive()
    }
}

impl Tenure {
    /// Whether nobody else can have served anything yet. What was read from the shards before this was asked, and was
    /// answered with yes, is the newest state. One atomic load, and a look at the clock where others vote.
    #[must_use]
    #[inline]
    pub fn is_valid(&self) -> bool {
        // Whatever was read before is read before the clock is.
        fence(Ordering::Acquire);
        let until = self.0.valid_until.load(Ordering::Acquire);
        until == UNLIMITED || self.0.runtime.now().as_nanos() < until
    }

    /// The term in which the tenure leads a shard; none before a shard that was split off in it has a leader.
    #[must_use]
    pub fn term_of(&self, shard: ShardId) -> Option<u64> {
        self.0.terms.read().get(&shard).copied()
    }

    /// A moment, in microseconds of this node's wall clock, when no tenure of another node was valid any more, and none of
    /// this node's before.
    #[must_use]
    pub fn began_micros(&self) -> u64 {
        self.0.began_micros
    }

    /// Waits until the tenure has ended.
    pub async fn ended(&self) {
        let end = Arc::clone(&self.0.end);
        let mut told = pin!(end.told.notified());
        // Registered before the check, so that it is not missed in between.
        told.as_mut().enable();
        if !self.has_ended() {
            told.await;
        }
    }

    /// Whether it is over for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Why it has ended, if it has.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.end.reason.get().map(String::as_str)
    }

    /// Gives the tenure up: whoever served in it has stopped, or will notice.
    pub fn end(&self, reason: &str) {
        self.0.end(reason);
    }

    /// Whether others vote, so that another node may serve when it is over.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.valid_until.load(Ordering::Acquire) != UNLIMITED
    }

    /// Whether it is the first one of this node since it was opened, and [`Tenure::settle`] has nothing to wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.terms_before.is_none()
    }

    /// Waits until all that was proposed in this node's tenure before is carried out, or never will be. To be called before
    /// what the shards hold is taken for what there is.
    ///
    /// # Errors
    /// As [`Shard::propose`]: the tenure is over then, or about to be.
    pub async fn settle(&self) -> Result<()> {
        let Some(before) = &self.0.terms_before else { return Ok(()) };
        let before = before.read().clone();
        // Proposals for another term come to nothing by themselves.
        let same_term = |shard: &&Arc<Shard>| {
            let term = before.get(&shard.id());
            term.is_some() && term == self.term_of(shard.id()).as_ref()
        };
        let map = self.0.routing.map();
        let unsettled: Vec<_> = map.iter().filter(same_term).cloned().collect();
        stream::iter(unsettled)
            .map(async |shard| self.barrier(&shard).await.map(drop))
            .buffer_unordered(BARRIERS_AT_ONCE_MAX)
            .try_collect()
            .await
    }

    /// Proposes a command that holds in this tenure or not at all: as [`Shard::propose`], with the term filled in.
    ///
    /// # Errors
    /// As [`Shard::propose`]. When the tenure ends before the answer comes, the outcome is unknown
    /// ([`ConsensusError::Ambiguous`]).
    pub async fn propose(&self, shard: &Shard, mut command: Command) -> Result<Applied> {
        command.expected_term = Some(self.term_in(shard).await?);
        self.answered(shard, shard.propose_in(&command, self)).await
    }

    /// As [`Shard::submit`], with the term filled in: a future of what becomes of the command. `None` also where
    /// [`Tenure::propose`] would wait for the shard's first leader.
    ///
    /// # Errors
    /// As [`Tenure::propose`].
    pub fn submit<'a>(
        &'a self,
        shard: &'a Shard,
        command: &mut Command,
    ) -> Result<Option<impl Future<Output = Result<Applied>> + 'a>> {
        let Some(term) = self.term_of(shard.id()) else { return Ok(None) };
        command.expected_term = Some(term);
        let submitted = shard.submit_in(command, self)?;
        Ok(submitted.map(|submitted| self.answered(shard, submitted)))
    }

    /// As [`Shard::barrier`], while the tenure lasts.
    ///
    /// # Errors
    /// As [`Tenure::propose`].
    pub async fn barrier(&self, shard: &Shard) -> Result<Applied> {
        self.answered(shard, shard.barrier()).await
    }

    /// The term in which the tenure leads a shard. One that was just split off may have no leader yet: it is waited for.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`] when the tenure has ended.
    pub async fn term_in(&self, shard: &Shard) -> Result<u64> {
        if let Some(term) = self.term_of(shard.id()) {
            return Ok(term);
        }
        let mut changes = self.0.tenures.changes();
        loop {
            // What comes after this is noticed below.
            changes.borrow_and_update();
            if self.has_ended() {
                return Err(ConsensusError::NotLeader { shard: shard.id(), leader: None });
            }
            if let Some(term) = self.term_of(shard.id()) {
                return Ok(term);
            }
            if changes.changed().await.is_err() {
                return Err(ConsensusError::NotLeader { shard: shard.id(), leader: None });
            }
        }
    }

    /// What a proposal comes to, as long as the tenure lasts.
    async fn answered(
        &self,
        shard: &Shard,
        answer: impl Future<Output = Result<Applied>>,
    ) -> Result<Applied> {
        match select(pin!(answer), pin!(self.ended())).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => {
                let reason = format!("the tenure has ended: {}", self.reason().unwrap_or_default());
                Err(ConsensusError::Ambiguous { shard: shard.id(), reason })
            }
        }
    }
}

impl Inner {
    fn has_ended(&self) -> bool {
        self.valid_until.load(Ordering::SeqCst) == ENDED
    }

    fn end(&self, reason: &str) {
        // First of all: whoever comes after this reads nothing more.
        self.valid_until.store(ENDED, Ordering::SeqCst);
        if self.end.reason.set(reason.to_owned()).is_ok() {
            tracing::info!(reason, "the tenure has ended");
            self.end.told.notify_waiters();
            self.tenures.tell();
        }
    }

    /// Sets until when it is valid, as raft says now.
    fn renew(&self, system: &Replica) {
        let term = self.terms.read().get(&system.id).copied();
        let Some(lease) = term.and_then(|term| system.lease_in(term)) else {
            self.end("this node leads the system shard no more");
            return;
        };
        // What has ended stays so.
        let renewed = |now| (now != ENDED).then(|| lease.valid_until());
        let _ended = self.valid_until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, renewed);
    }

    /// A replica has looked at what raft says of its shard's leader: whether the tenure can go on with it. `first_term` is what
    /// was known of its first leader before that.
    fn check(&self, replica: &Replica, first_term: Option<u64>) {
        let shard = replica.id;
        let term = self.terms.read().get(&shard).copied();
        match (term, first_term) {
            (Some(term), _) if replica.leads_in(term) => {}
            (Some(_), _) => self.end(&format!("this node leads {shard} no more")),
            (None, Some(_)) => self.take_in(replica),
            // It has no leader yet, or is none of the tenure's.
            (None, None) => {}
        }
    }

    /// A shard that was split off has a leader.
    fn take_in(&self, replica: &Replica) {
        let map = self.routing.map();
        let lineage = map.by_id(replica.id).and_then(|shard| shard.lineage());
        let Some(Lineage { parent, parent_term, term }) = lineage else { return };
        // The shard that it was split off may be a new one itself.
        let Some(tenure_of_parent) = self.terms.read().get(&parent).copied() else { return };
        if tenure_of_parent != parent_term || !replica.leads_in(term) {
            self.end(&format!("another node was the first to lead {}", replica.id));
            return;
        }
        self.terms.write().insert(replica.id, term);
        self.look_at_new_shards(&map);
    }

    /// There are other shards here than before.
    fn compare(&self, map: &ShardMap) {
        let gone = self.terms.read().keys().find(|id| map.by_id(**id).is_none()).copied();
        if let Some(gone) = gone {
            self.end(&format!("{gone} has left this node"));
            return;
        }
        self.look_at_new_shards(map);
    }

    fn look_at_new_shards(&self, map: &ShardMap) {
        let is_new = |shard: &&Arc<Shard>| !self.terms.read().contains_key(&shard.id());
        for shard in map.iter().filter(is_new) {
            if shard.origin().is_none() {
                self.end(&format!("{} has come to this node", shard.id()));
                return;
            }
            shard.replica().look_again();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The task that watches the lease ends with this.
        self.end.told.notify_waiters();
        self.end.told.notify_one();
    }
}

/// A node's tenure, if it has one, as those know it who can end it.
#[derive(Debug, Default)]
pub(crate) struct Tenures {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    current: Weak<Inner>,
    /// Those of the last one.
    terms: Option<Terms>,
}

impl State {
    /// The term in which the system shard was led in the last tenure.
    fn system_term(&self) -> Option<u64> {
        self.terms.as_ref().and_then(|terms| terms.read().get(&ShardId::SYSTEM).copied())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Tenures {
    /// Counts what may make a tenure begin or end: who leads, and which shards there are.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// See [`crate::Node::tenure`].
    pub(crate) fn tenure(self: &Arc<Self>, runtime: &Runtime, routing: &Arc<Routing>) -> Option<Tenure> {
        // Held throughout: who loses a leadership says so here after it has noted it. Either it is seen below, or it finds
        // the new tenure.
        let mut state = self.state.lock();
        if let Some(current) = state.current.upgrade()
            && !current.has_ended()
        {
            return Some(Tenure(current));
        }
        if routing.is_closed() {
            return None;
        }
        let map = routing.map();
        let terms = terms_of_all(&map)?;
        let system = map.by_id(ShardId::SYSTEM)?.replica();
        if !all_follow(&map, &terms, system.leads_since()) {
            return None;
        }
        let until = system.lease_in(*terms.get(&ShardId::SYSTEM)?)?.valid_until();
        if until <= runtime.now().as_nanos() {
            return None;
        }
        // After a tenure of this node's in the same term the one that ends with that term is not the last one.
        let is_first = state.system_term() != terms.get(&ShardId::SYSTEM).copied();
        let began_micros = if is_first { system.leads_since_micros() } else { runtime.wall_micros() };
        let terms: Terms = Arc::new(RwLock::new(terms));
        let inner = Arc::new(Inner {
            runtime: runtime.clone(),
            routing: Arc::clone(routing),
            tenures: Arc::clone(self),
            valid_until: AtomicU64::new(until),
            began_micros,
            terms: Arc::clone(&terms),
            terms_before: state.terms.replace(terms),
            end: Arc::default(),
        });
        state.current = Arc::downgrade(&inner);
        let watching = watch_lease(
            Arc::downgrade(&inner),
            Arc::clone(&inner.end),
            Arc::downgrade(system),
            system.metrics(),
            runtime.clone(),
        );
        runtime.spawn("lease", watching);
        drop(state);
        self.tell();
        Some(Tenure(inner))
    }

    fn current<R>(&self, with: impl FnOnce(&Inner) -> R) -> Option<R> {
        let state = self.state.lock();
        let current = state.current.upgrade().filter(|current| !current.has_ended());
        current.map(|current| with(&current))
    }

    /// A replica has looked at what raft says of its shard's leader.
    pub(crate) fn check(&self, replica: &Replica, first_term: Option<u64>) {
        self.current(|tenure| tenure.check(replica, first_term));
        self.tell();
    }

    /// Who votes in a shard is about to change, or has changed.
    pub(crate) fn renew(&self, replica: &Replica) {
        if replica.id == ShardId::SYSTEM {
            // Under the lock: what was known earlier is not written later.
            self.current(|tenure| tenure.renew(replica));
        }
    }

    /// A shard is about to be handed to another leader, whoever that will be.
    pub(crate) fn hand_over(&self, shard: ShardId) {
        let reason = format!("this node hands {shard} over");
        self.current(|tenure| {
            if tenure.terms.read().contains_key(&shard) {
                tenure.end(&reason);
            }
        });
    }

    /// There are other shards here than before.
    pub(crate) fn rerouted(&self, map: &ShardMap) {
        self.current(|tenure| tenure.compare(map));
        self.tell();
    }

    /// No tenure will follow.
    pub(crate) fn close(&self) {
        self.current(|tenure| tenure.end("the node is shutting down"));
    }
}

/// The terms in which this node leads all shards that there are; none if it does not lead all of them.
fn terms_of_all(map: &ShardMap) -> Option<BTreeMap<ShardId, u64>> {
    let mut covered: Option<&[u8]> = Some(&[DATA_START]);
    for shard in map.data() {
        if covered != Some(&shard.range().start[..]) {
            return None;
        }
        covered = shard.range().end.as_deref();
    }
    let all_here = covered.is_none() && !map.data().is_empty();
    let led = |shard: &Arc<Shard>| {
        let replica = shard.replica();
        let term = replica.led_in()?;
        // Else the map is still to follow a split that is carried out.
        (replica.generation() == shard.generation()).then_some((shard.id(), term))
    };
    if all_here { map.iter().map(led).collect() } else { None }
}

/// Whether a majority of each data shard is known to follow this node at a moment or later.
fn all_follow(map: &ShardMap, terms: &BTreeMap<ShardId, u64>, moment: Instant) -> bool {
    let follows = |shard: &Arc<Shard>| {
        terms.get(&shard.id()).is_some_and(|term| shard.replica().is_followed_since(*term, moment))
    };
    map.data().iter().all(follows)
}

/// Moves the end of a tenure's lease on as heartbeats are answered, and ends the tenure when it has come.
async fn watch_lease(
    tenure: Weak<Inner>,
    end: Arc<End>,
    system: Weak<Replica>,
    mut metrics: WatchReceiverOf<TypeConfig, AllMetrics>,
    runtime: Runtime,
) {
    loop {
        let mut told = pin!(end.told.notified());
        told.as_mut().enable();
        let until = {
            let (Some(tenure), Some(system)) = (tenure.upgrade(), system.upgrade()) else { return };
            tenure.tenures.renew(&system);
            let until = tenure.valid_until.load(Ordering::SeqCst);
            if until == ENDED {
                return;
            }
            if until != UNLIMITED && runtime.now().as_nanos() >= until {
                tenure.end("a majority of the system shard's replicas has not answered in time");
                return;
            }
            until
        };
        let over = async {
            if until == UNLIMITED {
                std::future::pending::<()>().await;
            }
            runtime.sleep_until(Instant::from_nanos(until)).await;
        };
        let (changed, over) = (pin!(metrics.changed()), pin!(over));
        match select(told, select(changed, over)).await {
            Either::Left(_) | Either::Right((Either::Left((Err(_), _)), _)) => {
                // Ended, dropped, or raft has stopped.
                if let Some(tenure) = tenure.upgrade() {
                    tenure.end("raft has stopped");
                }
                return;
            }
            Either::Right((Either::Left((Ok(()), _)) | Either::Right(((), _)), _)) => {}
        }
    }
}
