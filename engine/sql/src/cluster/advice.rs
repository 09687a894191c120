//! What is wrong with a cluster, and what to do about it.
//!
//! Each piece of advice is one sentence or two: what the matter is, if the columns beside it do not say so, and the next
//! step. Where nothing is wrong there is none.

use std::time::Duration;

use super::{ClusterStatus, NodeState, NodeStatus};

/// How a node is added.
const ADD_A_NODE: &str = "add a node: CREATE JOIN TOKEN, then shardforge init --join";

/// One line of SHOW CLUSTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// How it stands.
    pub value: String,
    /// What to do, if something is wrong.
    pub advice: Option<String>,
}

/// What to do about a node; `None` if all is well with it.
#[must_use]
pub fn of_node(cluster: &ClusterStatus, node: &NodeStatus) -> Option<String> {
    let (replicas, leaders) = (cluster.replicas_of(node.id), cluster.leaders_of(node.id));
    if node.state == NodeState::Gone {
        return None;
    }
    if !node.is_alive {
        return Some(of_silent_node(cluster, node, replicas));
    }
    match node.state {
        NodeState::Draining if leaders == 0 && cluster.primary != Some(node.id) => {
            Some(format!("it can be stopped; ALTER NODE {} RESUME when it is back", node.id))
        }
        NodeState::Draining => {
            Some("what it leads moves to other nodes; wait before it is stopped".to_owned())
        }
        NodeState::Decommissioning if replicas == 0 => Some("it can be stopped for good".to_owned()),
        NodeState::Decommissioning if !can_spare(cluster, node) => {
            Some(format!("no other node can take all of its {}; {ADD_A_NODE}", count(replicas, "replica")))
        }
        NodeState::Decommissioning => {
            Some(format!("{} to move; do not stop it before there are none", count(replicas, "replica")))
        }
        NodeState::Active | NodeState::Gone => None,
    }
}

fn of_silent_node(cluster: &ClusterStatus, node: &NodeStatus, replicas: usize) -> String {
    let silent = match node.last_heard {
        Some(ago) => format!("silent for {}", span(ago)),
        None => "not heard of since this node has started".to_owned(),
    };
    if replicas == 0 {
        return format!("{silent}; it has no replicas: start it, or ALTER NODE {} DECOMMISSION", node.id);
    }
    let replicas = count(replicas, "replica");
    if !can_spare(cluster, node) {
        return format!("{silent}; no other node can take its {replicas}: start it, or {ADD_A_NODE}");
    }
    match node.last_heard {
        Some(ago) if ago >= cluster.replaced_after => {
            format!("{silent}; its {replicas} are being replaced by others elsewhere")
        }
        _ => format!(
            "{silent}; start it: after {} its {replicas} are replaced by others elsewhere",
            span(cluster.replaced_after)
        ),
    }
}

/// Whether there is a node for every replica that each shard is to have, without this one.
fn can_spare(cluster: &ClusterStatus, node: &NodeStatus) -> bool {
    cluster.takers().filter(|other| other.id != node.id).count() >= cluster.replicas_wanted
}

/// How the cluster stands.
#[must_use]
pub fn of_cluster(cluster: &ClusterStatus) -> Vec<Fact> {
    let members = cluster.nodes.iter().filter(|node| node.state != NodeState::Gone);
    let alive = members.clone().filter(|node| node.is_alive).count();
    let members = members.count();
    let (under, without) = (cluster.under_replicated(), cluster.without_quorum());
    let leaderless = cluster.shards.iter().filter(|shard| shard.leader.is_none()).count();
    let fact = |name, value: String, advice: Option<String>| Fact { name, value, advice };
    let when = |wrong: bool, advice: String| wrong.then_some(advice);
    vec![
        match cluster.primary {
            Some(primary) => fact("primary", primary.to_string(), None),
            None => fact("primary", "none".to_owned(), Some(of_no_primary(without > 0))),
        },
        fact("nodes", members.to_string(), of_size(members)),
        fact(
            "nodes_alive",
            alive.to_string(),
            when(alive < members, "SHOW NODES tells which are not".to_owned()),
        ),
        fact("replicas_wanted", cluster.replicas_wanted.to_string(), None),
        fact("shards", cluster.shards.len().to_string(), None),
        fact("shards_under_replicated", under.to_string(), when(under > 0, of_under_replicated(cluster))),
        fact(
            "shards_without_leader",
            leaderless.to_string(),
            when(leaderless > without, "leaders are elected within seconds".to_owned()),
        ),
        fact(
            "shards_without_quorum",
            without.to_string(),
            when(
                without > 0,
                "start the nodes that are down: most of these shards' replicas are there".to_owned(),
            ),
        ),
    ]
}

fn of_no_primary(without_quorum: bool) -> String {
    if without_quorum {
        "none can be found before the shards below have a quorum".to_owned()
    } else {
        "one is found within seconds".to_owned()
    }
}

fn of_size(members: usize) -> Option<String> {
    match members {
        1 => Some(format!("it survives no failure; {ADD_A_NODE}, twice")),
        2 => Some(format!("two nodes survive no failure; {ADD_A_NODE}")),
        _ => None,
    }
}

fn of_under_replicated(cluster: &ClusterStatus) -> String {
    let takers = cluster.takers().count();
    if takers >= cluster.replicas_wanted {
        return "replicas are added; wait".to_owned();
    }
    let missing = cluster.replicas_wanted - takers;
    format!("{} missing: start those that are down, or {ADD_A_NODE}", count(missing, "node"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A time as people say it: `40 s`, `5 min`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ShardReplicas;

    fn node(id: u64) -> NodeStatus {
        NodeStatus {
            id,
            address: format!("n{id}:7432"),
            sql_address: format!("n{id}:5432"),
            state: NodeState::Active,
            is_alive: true,
            last_heard: Some(Duration::ZERO),
            version: None,
        }
    }

    /// Three nodes with three shards on each; node 1 leads.
    fn healthy() -> ClusterStatus {
        let shard =
            |shard| ShardReplicas { shard, leader: Some(1), voters: vec![1, 2, 3], ..Default::default() };
        ClusterStatus {
            primary: Some(1),
            replicas_wanted: 3,
            replaced_after: Duration::from_secs(300),
            nodes: (1..=3).map(node).collect(),
            shards: (0..3).map(shard).collect(),
        }
    }

    fn silence(cluster: &mut ClusterStatus, id: u64, seconds: Option<u64>) {
        for node in cluster.nodes.iter_mut().filter(|node| node.id == id) {
            node.is_alive = false;
            node.last_heard = seconds.map(Duration::from_secs);
        }
    }

    fn about(cluster: &ClusterStatus, id: u64) -> String {
        of_node(cluster, cluster.node(id).expect("it is there")).unwrap_or_default()
    }

    fn fact(cluster: &ClusterStatus, name: &str) -> (String, String) {
        let fact = of_cluster(cluster).into_iter().find(|fact| fact.name == name).expect("a fact");
        (fact.value, fact.advice.unwrap_or_default())
    }

    fn pair(value: &str, advice: &str) -> (String, String) {
        (value.to_owned(), advice.to_owned())
    }

    #[test]
    fn where_all_is_well_nothing_is_said() {
        let cluster = healthy();
        for id in 1..=3 {
            assert_eq!(about(&cluster, id), "");
        }
        let facts = of_cluster(&cluster);
        assert!(facts.iter().all(|fact| fact.advice.is_none()), "{facts:?}");
        assert_eq!(fact(&cluster, "shards").0, "3");
    }

    #[test]
    fn a_silent_node_is_started_or_replaced() {
        let mut cluster = healthy();
        silence(&mut cluster, 2, Some(40));
        let no_other = "silent for 40 s; no other node can take its 3 replicas: start it, or add a node: CREATE JOIN \
                        TOKEN, then shardforge init --join";
        assert_eq!(about(&cluster, 2), no_other);
        cluster.nodes.push(node(4));
        assert_eq!(
            about(&cluster, 2),
            "silent for 40 s; start it: after 5 min its 3 replicas are replaced by others elsewhere"
        );
        silence(&mut cluster, 2, Some(301));
        assert_eq!(
            about(&cluster, 2),
            "silent for 5 min; its 3 replicas are being replaced by others elsewhere"
        );
        silence(&mut cluster, 2, None);
        assert!(about(&cluster, 2).starts_with("not heard of since this node has started; start it"));
        cluster.shards.clear();
        assert!(about(&cluster, 2).ends_with("start it, or ALTER NODE 2 DECOMMISSION"));
        cluster.nodes[1].state = NodeState::Gone;
        assert_eq!(about(&cluster, 2), "");
    }

    #[test]
    fn a_leaving_node_says_when_it_may_be_stopped() {
        let mut cluster = healthy();
        cluster.nodes[0].state = NodeState::Draining;
        assert_eq!(about(&cluster, 1), "what it leads moves to other nodes; wait before it is stopped");
        cluster.primary = Some(2);
        cluster.shards.iter_mut().for_each(|shard| shard.leader = Some(2));
        assert_eq!(about(&cluster, 1), "it can be stopped; ALTER NODE 1 RESUME when it is back");
        cluster.nodes[0].state = NodeState::Decommissioning;
        assert!(about(&cluster, 1).starts_with("no other node can take all of its 3 replicas; add a node"));
        cluster.nodes.push(node(4));
        assert_eq!(about(&cluster, 1), "3 replicas to move; do not stop it before there are none");
        cluster.shards.iter_mut().for_each(|shard| shard.voters = vec![2, 3, 4]);
        assert_eq!(about(&cluster, 1), "it can be stopped for good");
    }

    #[test]
    fn lost_replicas_and_quorums_are_counted() {
        let mut cluster = healthy();
        silence(&mut cluster, 3, Some(10));
        assert_eq!(fact(&cluster, "nodes_alive"), pair("2", "SHOW NODES tells which are not"));
        let (value, advice) = fact(&cluster, "shards_under_replicated");
        assert_eq!(value, "3");
        assert!(advice.starts_with("1 node missing: start those that are down, or add a node"), "{advice}");
        assert_eq!(fact(&cluster, "shards_without_quorum"), pair("0", ""));
        cluster.nodes.push(node(4));
        assert_eq!(fact(&cluster, "shards_under_replicated"), pair("3", "replicas are added; wait"));
        silence(&mut cluster, 2, Some(10));
        cluster.primary = None;
        cluster.shards.iter_mut().for_each(|shard| shard.leader = None);
        assert_eq!(fact(&cluster, "shards_without_quorum").0, "3");
        assert_eq!(fact(&cluster, "shards_without_leader"), pair("3", ""));
        let (value, advice) = fact(&cluster, "primary");
        assert_eq!((&*value, &*advice), ("none", "none can be found before the shards below have a quorum"));
    }

    #[test]
    fn a_small_cluster_is_told_to_grow() {
        let mut cluster = healthy();
        cluster.nodes.truncate(1);
        cluster.replicas_wanted = 1;
        cluster.shards.iter_mut().for_each(|shard| shard.voters = vec![1]);
        let (value, advice) = fact(&cluster, "nodes");
        assert_eq!(value, "1");
        assert!(advice.starts_with("it survives no failure"), "{advice}");
        assert_eq!(fact(&cluster, "shards_under_replicated"), pair("0", ""));
    }
}
