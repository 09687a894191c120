//! Who is who: clusters, and the names that nodes have in certificates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shardforge_runtime::NodeId;
use uuid::Uuid;

/// A cluster: drawn once, by `init`, so that nodes of two clusters can never take each other for their own. It is
/// written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// A new cluster's id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u128())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).fmt(f)
    }
}

impl FromStr for ClusterId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(|uuid| Self(uuid.as_u128()))
    }
}

/// The DNS name that stands in a node's certificate. No resolver knows it: it says which node of which cluster the
/// key belongs to, whatever the machine's address is.
#[must_use]
pub fn node_name(cluster: ClusterId, node: NodeId) -> String {
    format!("{node}.{cluster}.shardforge")
}
