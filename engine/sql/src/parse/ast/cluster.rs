//! Statements about the nodes of a cluster.

/// What SHOW shows of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterShow {
    /// Its nodes.
    Nodes,
    /// How it stands.
    Cluster,
    /// What each replica of each shard holds.
    Checksums,
}

/// `ALTER NODE number action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlterNodeStmt {
    /// Which.
    pub node: u64,
    /// What is to become of it.
    pub action: NodeAction,
}

/// What ALTER NODE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAction {
    /// It is to lead nothing.
    Drain,
    /// It takes part again.
    Resume,
    /// It is to hold nothing.
    Decommission,
}
