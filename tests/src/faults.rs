//! What is done to a node, and how it is undone.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::cluster::TestCluster;
use crate::doors::{Link, Trouble};
use crate::network::Partition;
use crate::violation::Violation;

/// How long a node may take to serve again once the others can reach it.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How often a network that flaps is cut.
const FLAPS: u32 = 4;
/// How long it stays cut each time: longer than leases last, and shorter.
const FLAP_LONG: Duration = Duration::from_millis(2_500);
const FLAP_SHORT: Duration = Duration::from_millis(300);

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
}

impl Fault {
    /// All of them, by the names that they have in commands.
    pub const ALL: [(&str, Fault); 8] = [
        ("kill", Fault::Kill),
        ("stop", Fault::Stop),
        ("freeze", Fault::Freeze),
        ("isolate", Fault::Isolate),
        ("mute", Fault::Mute),
        ("deafen", Fault::Deafen),
        ("ring", Fault::Ring),
        ("flap", Fault::Flap),
    ];

    /// How it divides the network; none for what is done to a process.
    pub fn partition(self, victim: usize) -> Option<Partition> {
        match self {
            Fault::Kill | Fault::Stop | Fault::Freeze => None,
            Fault::Isolate | Fault::Flap => Some(Partition::Isolated(victim)),
            Fault::Mute => Some(Partition::Mute(victim)),
            Fault::Deafen => Some(Partition::Deaf(victim)),
            Fault::Ring => Some(Partition::Ring(victim)),
        }
    }

    /// How many nodes it takes that some can go on.
    pub fn nodes_min(self) -> usize {
        match self {
            Fault::Kill | Fault::Stop => 1,
            Fault::Freeze => 2,
            Fault::Isolate | Fault::Mute | Fault::Deafen | Fault::Ring | Fault::Flap => 3,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// When a server does not end well, or the system does not let us.
    pub(crate) async fn inflict(self, cluster: &mut TestCluster, victim: usize) -> Result<(), Violation> {
        match self {
            Fault::Kill => cluster.node(victim).kill(),
            Fault::Stop => cluster.node(victim).stop().map_err(Violation::Data)?,
            Fault::Freeze => cluster.node(victim).process().freeze(),
            Fault::Isolate | Fault::Mute | Fault::Deafen | Fault::Ring | Fault::Flap => {}
        }
        let Some(partition) = self.partition(victim) else { return Ok(()) };
        if self == Fault::Flap {
            for turn in 0..FLAPS {
                cluster.divide(partition).map_err(Violation::Data)?;
                sleep(if turn % 2 == 0 { FLAP_SHORT } else { FLAP_LONG }).await;
                cluster.heal().map_err(Violation::Data)?;
                sleep(FLAP_SHORT).await;
            }
        }
        cluster.divide(partition).map_err(Violation::Data)
    }

    /// Undoes it; how long it took until the node served clients.
    ///
    /// # Errors
    /// When that takes too long after the network has healed, or the system does not let us heal it.
    pub(crate) async fn undo(self, cluster: &mut TestCluster, victim: usize) -> Result<Duration, Violation> {
        let started = Instant::now();
        match self {
            Fault::Kill | Fault::Stop => cluster.restart(victim),
            Fault::Freeze => cluster.node(victim).process().thaw(),
            Fault::Isolate | Fault::Mute | Fault::Deafen | Fault::Ring | Fault::Flap => {
                cluster.heal().map_err(Violation::Data)?;
                let dsn = cluster.node(victim).dsn().to_owned();
                match timeout(RECOVERY_MAX, serves(&dsn)).await {
                    Ok(served) => served?,
                    Err(_elapsed) => {
                        let what = format!("{RECOVERY_MAX:?} after the network has healed");
                        return Err(Violation::Data(format!("node {} serves nobody {what}", victim + 1)));
                    }
                }
            }
        }
        Ok(started.elapsed())
    }
}

/// Waits until a node lets a client in and runs a statement for it.
async fn serves(dsn: &str) -> Result<(), Violation> {
    loop {
        let served = async { Link::open(dsn).await?.batch_execute("CREATE TEMP TABLE pulse ()").await };
        match served.await {
            Ok(()) => return Ok(()),
            Err(error) if Trouble::of(&error) == Trouble::Wrong => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn what_cuts_the_network_takes_nodes_that_go_on() {
        for (_, fault) in Fault::ALL {
            assert_eq!(fault.partition(0).is_some(), fault.nodes_min() == 3, "{fault:?}");
        }
    }
}
