//! A peer: a node that is dialled from here, by one link for each kind of traffic.

use std::sync::Arc;

use shardforge_runtime::{NodeId, Traffic};

use crate::dial::Task;
use crate::link::Link;
use crate::shared::Shared;
use crate::status::PeerStatus;

/// A node that calls may go to. Its connections end when it is dropped.
pub(crate) struct Peer {
    node: NodeId,
    address: String,
    links: [Arc<Link>; 4],
    _tasks: [Task; 4],
}

impl Peer {
    pub(crate) fn new(shared: &Arc<Shared>, node: NodeId, address: &str) -> Self {
        let links = Traffic::ALL.map(|traffic| Link::new(Arc::clone(shared), node, address, traffic));
        let tasks = links.each_ref().map(|link| Task(tokio::spawn(Arc::clone(link).run())));
        Self { node, address: address.to_owned(), links, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn link(&self, traffic: Traffic) -> &Arc<Link> {
        &self.links[traffic.index()]
    }

    pub(crate) fn nudge(&self) {
        self.links.iter().for_each(|link| link.nudge());
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let links = self.links.iter().map(|link| link.status()).collect();
        PeerStatus { node: self.node, address: self.address.clone(), links }
    }
}
