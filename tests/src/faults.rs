//! What is done to a node, and how it is undone.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::cluster::TestCluster;
use crate::doors::{Link, Trouble};
use crate::network::Partition;
use crate::shim::Disturbance;
use crate::surroundings::Surroundings;
use crate::violation::Violation;

/// How long a node may take to serve again, and all clients to write again, once a fault is undone.
pub(crate) const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How long a fault lasts at least that does not end a process.
const LASTS_MIN: Duration = Duration::from_secs(5);
/// How often a network that flaps is cut.
const FLAPS: u32 = 4;
/// How long it stays cut each time: longer than leases last, and shorter.
const FLAP_LONG: Duration = Duration::from_millis(2_500);
const FLAP_SHORT: Duration = Duration::from_millis(300);
/// A disk that is slow, by the standards of a bad day.
const SLOW_DISK: Disturbance = Disturbance { clock_micros: 0, sync_micros: 400_000, write_micros: 1_000 };
/// A disk that does not come to an end with anything.
const STUCK_DISK: Disturbance = Disturbance { clock_micros: 0, sync_micros: i64::MAX, write_micros: 0 };
/// How far a clock jumps that is borne, there and back.
const CLOCK_JUMP_MICROS: i64 = 100_000;
/// How often it jumps, and how long it stays each time.
const CLOCK_JUMPS: u32 = 6;
const CLOCK_STAYS: Duration = Duration::from_millis(700);
/// How far a clock is off that is not borne.
const CLOCK_WRONG_MICROS: i64 = 400_000;
/// How long a node may go on with it.
const CLOCK_WRONG_MAX: Duration = Duration::from_secs(15);

/// What is done to a node in each round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP, and SIGCONT when clients write again.
    Freeze,
    /// No other node can reach it, nor does it reach them. Clients can.
    Isolate,
    /// No other node hears it.
    Mute,
    /// It hears no other node.
    Deafen,
    /// Nodes see their neighbours in a ring alone: of three, this one sees both others.
    Ring,
    /// It is isolated again and again, and for good in the end.
    Flap,
    /// Its disk is slow.
    SlowDisk,
    /// Its disk does nothing any more.
    StuckDisk,
    /// Its clock jumps by as much as is borne.
    ClockJumps,
    /// Its clock is off by more than that, and it has to stop itself.
    WrongClock,
}

/// What has to be there that a fault can be inflicted.
enum Needs {
    Nothing,
    Network,
    Shim,
}

impl Fault {
    /// All of them, by the names that they have in commands.
    pub const ALL: [(&str, Fault); 12] = [
        ("kill", Fault::Kill),
        ("stop", Fault::Stop),
        ("freeze", Fault::Freeze),
        ("isolate", Fault::Isolate),
        ("mute", Fault::Mute),
        ("deafen", Fault::Deafen),
        ("ring", Fault::Ring),
        ("flap", Fault::Flap),
        ("slow-disk", Fault::SlowDisk),
        ("stuck-disk", Fault::StuckDisk),
        ("clock-jumps", Fault::ClockJumps),
        ("wrong-clock", Fault::WrongClock),
    ];

    fn needs(self) -> Needs {
        match self {
            Fault::Kill | Fault::Stop | Fault::Freeze => Needs::Nothing,
            Fault::Isolate | Fault::Mute | Fault::Deafen | Fault::Ring | Fault::Flap => Needs::Network,
            Fault::SlowDisk | Fault::StuckDisk | Fault::ClockJumps | Fault::WrongClock => Needs::Shim,
        }
    }

    /// Where it can be inflicted upon so many nodes, with files in a directory.
    ///
    /// # Errors
    /// When the system does not let us make that.
    pub(crate) fn surroundings(self, directory: &Path, nodes: usize) -> Result<Surroundings, String> {
        match self.needs() {
            Needs::Nothing => Ok(Surroundings::default()),
            Needs::Network => Surroundings::with_network(nodes),
            Needs::Shim => Surroundings::with_shim(directory, nodes),
        }
    }

    /// How many nodes it takes that some can go on.
    pub fn nodes_min(self) -> usize {
        match self {
            Fault::Kill | Fault::Stop => 1,
            Fault::Freeze => 2,
            _ => 3,
        }
    }

    /// Whether it has come to pass only when it has been inflicted for some time: clients write meanwhile.
    pub(crate) fn takes_time(self) -> bool {
        matches!(self, Fault::Flap | Fault::ClockJumps | Fault::WrongClock)
    }

    /// How long it lasts at least.
    pub(crate) fn lasts_min(self) -> Duration {
        match self {
            Fault::Kill | Fault::Stop | Fault::WrongClock => Duration::ZERO,
            _ => LASTS_MIN,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// When a server does not end as it ought to, or the system does not let us.
    pub(crate) async fn inflict(self, cluster: &mut TestCluster, victim: usize) -> Result<(), Violation> {
        let divide = |partition| cluster.surroundings().divide(partition);
        let disturb = |disturbance| cluster.surroundings().disturb(victim, disturbance);
        let inflicted = match self {
            Fault::Kill => {
                cluster.node(victim).kill();
                Ok(())
            }
            Fault::Stop => cluster.node(victim).stop(),
            Fault::Freeze => {
                cluster.node(victim).process().freeze();
                Ok(())
            }
            Fault::Isolate => divide(Partition::Isolated(victim)),
            Fault::Mute => divide(Partition::Mute(victim)),
            Fault::Deafen => divide(Partition::Deaf(victim)),
            Fault::Ring => divide(Partition::Ring(victim)),
            Fault::Flap => flap(cluster.surroundings(), victim).await,
            Fault::SlowDisk => disturb(SLOW_DISK),
            Fault::StuckDisk => disturb(STUCK_DISK),
            Fault::ClockJumps => jump(cluster.surroundings(), victim).await,
            Fault::WrongClock => {
                // Some clocks are ahead, some behind.
                let sign = if victim % 2 == 0 { 1 } else { -1 };
                disturb(off_by(sign * CLOCK_WRONG_MICROS)).and_then(|()| {
                    let log = cluster.node(victim).stopped_itself(CLOCK_WRONG_MAX)?;
                    let says_why = log.contains("clock is");
                    if says_why { Ok(()) } else { Err(format!("it has stopped for another reason: {log}")) }
                })
            }
        };
        inflicted.map_err(|what| Violation::Data(format!("node {}: {what}", victim + 1)))
    }

    /// Undoes it; how long it took until the node served clients.
    ///
    /// # Errors
    /// When that takes too long, or the system does not let us.
    pub(crate) async fn undo(self, cluster: &mut TestCluster, victim: usize) -> Result<Duration, Violation> {
        let started = Instant::now();
        match self.needs() {
            Needs::Nothing => Ok(()),
            Needs::Network => cluster.surroundings().heal(),
            Needs::Shim => cluster.surroundings().disturb(victim, Disturbance::default()),
        }
        .map_err(Violation::Data)?;
        match self {
            Fault::Kill | Fault::Stop | Fault::WrongClock => cluster.restart(victim),
            Fault::Freeze => cluster.node(victim).process().thaw(),
            _ => {}
        }
        let dsn = cluster.node(victim).dsn().to_owned();
        match timeout(RECOVERY_MAX, serves(&dsn)).await {
            Ok(served) => served?,
            Err(_elapsed) => {
                let what = format!("{RECOVERY_MAX:?} after {self:?} was undone");
                return Err(Violation::Data(format!("node {} serves nobody {what}", victim + 1)));
            }
        }
        Ok(started.elapsed())
    }
}

async fn flap(surroundings: &Surroundings, victim: usize) -> Result<(), String> {
    let partition = Partition::Isolated(victim);
    for turn in 0..FLAPS {
        surroundings.divide(partition)?;
        sleep(if turn % 2 == 0 { FLAP_SHORT } else { FLAP_LONG }).await;
        surroundings.heal()?;
        sleep(FLAP_SHORT).await;
    }
    surroundings.divide(partition)
}

async fn jump(surroundings: &Surroundings, victim: usize) -> Result<(), String> {
    for turn in 0..CLOCK_JUMPS {
        let sign = if turn % 2 == 0 { 1 } else { -1 };
        surroundings.disturb(victim, off_by(sign * CLOCK_JUMP_MICROS))?;
        sleep(CLOCK_STAYS).await;
    }
    Ok(())
}

fn off_by(clock_micros: i64) -> Disturbance {
    Disturbance { clock_micros, ..Disturbance::default() }
}

/// Waits until a node lets a client in and runs a statement for it.
async fn serves(dsn: &str) -> Result<(), Violation> {
    loop {
        let served = async { Link::open(dsn).await?.batch_execute("SELECT 1").await };
        match served.await {
            Ok(()) => return Ok(()),
            Err(error) if Trouble::of(&error) == Trouble::Wrong => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
