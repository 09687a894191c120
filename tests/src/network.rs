//! A network of its own for the nodes of a cluster, that can be cut: one network namespace a node, joined by a bridge.
//!
//! ```text
//!   namespace 1          namespace 2          namespace 3
//!   10.x.y.1             10.x.y.2             10.x.y.3
//!      |                    |                    |
//!   ---+--------------------+--------------------+--- bridge, 10.x.y.254: the tests and their clients
//! ```
//!
//! Each node knows by which hardware address the others are reached, and finds out for itself about nobody. A cut gives it
//! an address that nobody has: what it sends gets lost, connections stay open, and nobody is told, as with a
//! cable that is broken. Each direction is cut by itself. Clients on the bridge reach every node all the time, those too
//! that others cannot reach.
//!
//! It takes Linux, `ip` (iproute2), and the right to make namespaces: root, in most places.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Nodes at most: their numbers are the last bytes of addresses.
const NODES_MAX: usize = 100;
/// The bridge's number.
const BRIDGE: u8 = 254;
/// The number of a hardware address that nobody has.
const NOBODY: u8 = 255;

/// See the module's documentation. Taken down when it is dropped.
#[derive(Debug)]
pub struct Network {
    /// What names begin with: those of links have 15 characters at most.
    name: String,
    /// The first three bytes of the addresses.
    subnet: [u8; 3],
    nodes: usize,
}

/// Who cannot send to whom, among nodes that are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partition {
    /// A node by itself.
    Isolated(usize),
    /// Nothing that a node sends arrives, and all that is sent to it does.
    Mute(usize),
    /// Nothing arrives at a node, and all that it sends does elsewhere.
    Deaf(usize),
    /// Each sees its neighbours in a ring, so that each sees a majority of three or five, and no two the same; of three
    /// nodes, this one sees both others, which do not see each other.
    Ring(usize),
}

impl Partition {
    /// The cuts that make it, each from one node to another.
    pub fn cuts(self, nodes: usize) -> Vec<(usize, usize)> {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let is_cut = |(from, to): &(usize, usize)| match self {
            Partition::Isolated(node) => *from == node || *to == node,
            Partition::Mute(node) => *from == node,
            Partition::Deaf(node) => *to == node,
            Partition::Ring(middle) if nodes == 3 => ![*from, *to].contains(&middle),
            Partition::Ring(_) => {
                let apart = from.abs_diff(*to);
                apart.min(nodes - apart) > 1
            }
        };
        pairs.filter(|(from, to)| from != to).filter(is_cut).collect()
    }
}

impl Network {
    /// Makes a network for so many nodes.
    ///
    /// # Errors
    /// What the system said when it did not let us.
    pub fn new(nodes: usize) -> Result<Network, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(nodes <= NODES_MAX, "so many nodes have no addresses");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().wrapping_add(count.wrapping_mul(1009)).to_be_bytes();
        let name = format!("sf{}x{}", std::process::id() % 1_000_000, count % 10);
        let network = Network { name, subnet: [10, 64 + high % 64, low], nodes };
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "address", &hardware(BRIDGE), "type", "bridge"])?;
        let address = format!("{}/24", network.host(BRIDGE));
        ip(&["addr", "add", &address, "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        (0..nodes).try_for_each(|node| network.add(node, &bridge))?;
        network.heal()?;
        Ok(network)
    }

    fn add(&self, node: usize, bridge: &str) -> Result<(), String> {
        let (namespace, link) = (self.namespace(node), format!("{}l{node}", self.name));
        ip(&["netns", "add", &namespace])?;
        let inner = ["peer", "name", "eth0", "address", &hardware(number(node)), "netns", &namespace];
        ip(&[&["link", "add", &link, "type", "veth"], &inner[..]].concat())?;
        ip(&["link", "set", &link, "master", bridge, "up"])?;
        let address = format!("{}/24", self.address(node));
        ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }

    fn host(&self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, number)
    }

    /// Where a node is.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        self.host(number(node))
    }

    /// What a command begins with that is to run where a node is. The process has the command's own id.
    pub fn prefix(&self, node: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(node)].map(str::to_owned).to_vec()
    }

    /// Loses from now on what one node sends to another.
    ///
    /// # Errors
    /// What the system said when it did not let us.
    pub fn cut(&self, from: usize, to: usize) -> Result<(), String> {
        self.lead(from, to, NOBODY)
    }

    /// Makes the cuts of a partition, beside those that there are.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn divide(&self, partition: Partition) -> Result<(), String> {
        partition.cuts(self.nodes).into_iter().try_for_each(|(from, to)| self.cut(from, to))
    }

    /// Undoes all cuts.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn heal(&self) -> Result<(), String> {
        for (from, to) in (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to))) {
            if from != to {
                self.lead(from, to, number(to))?;
            }
        }
        Ok(())
    }

    /// Says at which hardware address a node is, as another one sees it.
    fn lead(&self, from: usize, to: usize, hardware_number: u8) -> Result<(), String> {
        let (namespace, address) = (self.namespace(from), self.address(to).to_string());
        let to = ["neigh", "replace", &address, "lladdr", &hardware(hardware_number)];
        ip(&[&["-n", &namespace], &to[..], &["dev", "eth0", "nud", "permanent"]].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was not made cannot be removed, which is no harm. Links go with their namespaces.
        for node in 0..self.nodes {
            let _ = ip(&["netns", "del", &self.namespace(node)]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

/// The last byte of a node's addresses.
fn number(node: usize) -> u8 {
    u8::try_from(node + 1).expect("nodes are few")
}

fn hardware(number: u8) -> String {
    format!("02:53:46:00:00:{number:02x}")
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let what = || format!("ip {}", arguments.join(" "));
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", what()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::Partition;

    #[test]
    fn partitions_cut_what_they_say() {
        assert_eq!(Partition::Isolated(1).cuts(3), [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(Partition::Mute(0).cuts(3), [(0, 1), (0, 2)]);
        assert_eq!(Partition::Deaf(0).cuts(3), [(1, 0), (2, 0)]);
        assert_eq!(Partition::Ring(1).cuts(3), [(0, 2), (2, 0)]);
        let ring = Partition::Ring(0).cuts(5);
        for node in 0..5 {
            let seen = (0..5).filter(|other| *other != node && !ring.contains(&(node, *other)));
            assert_eq!(seen.count(), 2, "each of five sees two others");
        }
        assert!(ring.iter().all(|(from, to)| ring.contains(&(*to, *from))));
    }
}
