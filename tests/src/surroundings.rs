//! What nodes are surrounded by, so that something can be done to them from outside.

use std::path::Path;

use crate::network::{Network, Partition};
use crate::process::Place;
use crate::shim::{Disturbance, Shim};

/// A network of their own, disks and clocks that can be disturbed; nodes that have neither share this machine's.
#[derive(Debug, Default)]
pub struct Surroundings {
    network: Option<Network>,
    shim: Option<Shim>,
}

impl Surroundings {
    /// A network for so many nodes, which can be cut.
    ///
    /// # Errors
    /// When the system does not let us make it.
    pub fn with_network(nodes: usize) -> Result<Surroundings, String> {
        Ok(Surroundings { network: Some(Network::new(nodes)?), shim: None })
    }

    /// Disks and clocks that can be disturbed, by files in a directory.
    ///
    /// # Errors
    /// As [`Shim::new`].
    pub fn with_shim(directory: &Path, nodes: usize) -> Result<Surroundings, String> {
        Ok(Surroundings { network: None, shim: Some(Shim::new(directory, nodes)?) })
    }

    /// Where a node's processes run.
    pub fn place(&self, node: usize) -> Place {
        let mut place = Place::here();
        if let Some(network) = &self.network {
            place.host = network.address(node).into();
            place.prefix = network.prefix(node);
            // Clients come from another address than the loopback.
            place.variables.push(("SHARDFORGE_INSECURE".to_owned(), "true".to_owned()));
        }
        if let Some(shim) = &self.shim {
            place.variables.extend(shim.variables(node));
        }
        place
    }

    /// Cuts the network.
    ///
    /// # Errors
    /// When the system does not let us, or there is none that could be cut.
    pub fn divide(&self, partition: Partition) -> Result<(), String> {
        self.network.as_ref().ok_or("the nodes have no network of their own")?.divide(partition)
    }

    /// Undoes [`Surroundings::divide`].
    ///
    /// # Errors
    /// As there.
    pub fn heal(&self) -> Result<(), String> {
        self.network.as_ref().ok_or("the nodes have no network of their own")?.heal()
    }

    /// Says what is the matter with a node's disk and clock from now on.
    ///
    /// # Errors
    /// When that cannot be said.
    pub fn disturb(&self, node: usize, disturbance: Disturbance) -> Result<(), String> {
        self.shim.as_ref().ok_or("the nodes' disks and clocks are this machine's")?.disturb(node, disturbance)
    }
}
