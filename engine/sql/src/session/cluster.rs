//! Statements about the nodes of a cluster: SHOW NODES, SHOW CLUSTER, SHOW CHECKSUMS, CREATE JOIN TOKEN,
//! ALTER NODE.
//!
//! They are about the cluster and not about its data: no transaction has a part in them, and those that change something
//! refuse to run in a block, because a ROLLBACK would not undo them. Only superusers may change anything.

use std::sync::Arc;
use std::time::Duration;

use shardforge_types::{ArrayValue, Datum, Interval, PgError, PgResult, Severity, SqlState, oid};

use super::PgSession;
use super::execute::Execution;
use super::past::micros_of;
use super::utility::text_output;
use crate::bind;
use crate::cluster::{ClusterControl, NodeStatus, ReplicaChecksum, ReplicaContent, advice};
use crate::exec::env::Host;
use crate::exec::eval::{CompiledExpr, NoRow};
use crate::ir::{OutputColumn, Ty};
use crate::limits::{JOIN_TOKEN_VALID_DEFAULT, JOIN_TOKEN_VALID_MAX};
use crate::parse::ast::{AlterNodeStmt, ClusterShow, Expr, NodeAction};

const NODE_COLUMNS: [&str; 11] = [
    "node_id",
    "address",
    "sql_address",
    "state",
    "is_alive",
    "last_heard",
    "is_primary",
    "replicas",
    "leaders",
    "version",
    "advice",
];
const CLUSTER_COLUMNS: [&str; 3] = ["name", "value", "advice"];
const CHECKSUM_COLUMNS: [&str; 6] = ["shard_id", "node_id", "applied_index", "pairs", "checksum", "agrees"];
const TOKEN_COLUMNS: [&str; 1] = ["join_token"];

/// Result columns of SHOW NODES, SHOW CLUSTER and SHOW CHECKSUMS.
pub(super) fn cluster_columns(show: ClusterShow) -> Vec<OutputColumn> {
    match show {
        ClusterShow::Cluster => text_output(&CLUSTER_COLUMNS),
        ClusterShow::Checksums => {
            let mut columns = text_output(&CHECKSUM_COLUMNS);
            for (number, ty) in
                [(0, oid::INT8), (1, oid::INT8), (2, oid::INT8), (3, oid::INT8), (5, oid::BOOL)]
            {
                columns[number].col.ty = Ty::new(ty);
            }
            columns
        }
        ClusterShow::Nodes => {
            let mut columns = text_output(&NODE_COLUMNS);
            for (number, ty) in [
                (0, oid::INT8),
                (4, oid::BOOL),
                (5, oid::TIMESTAMPTZ),
                (6, oid::BOOL),
                (7, oid::INT8),
                (8, oid::INT8),
            ] {
                columns[number].col.ty = Ty::new(ty);
            }
            columns
        }
    }
}

/// Result columns of CREATE JOIN TOKEN.
pub(super) fn token_columns() -> Vec<OutputColumn> {
    text_output(&TOKEN_COLUMNS)
}

/// Numbers of nodes as an array.
pub(super) fn node_array(nodes: &[u64]) -> Datum {
    let nodes = nodes.iter().map(|node| number(*node)).collect();
    Datum::Array(Arc::new(ArrayValue::from_elements(oid::INT8, nodes)))
}

pub(super) fn number(value: u64) -> Datum {
    Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX))
}

fn count(value: usize) -> Datum {
    number(value as u64)
}

fn text(value: Option<String>) -> Datum {
    value.map_or(Datum::Null, Datum::text)
}

fn checksum_row(replica: &ReplicaChecksum, all: &[ReplicaChecksum]) -> Vec<Datum> {
    let of = |value: fn(ReplicaContent) -> Datum| replica.content.map_or(Datum::Null, value);
    vec![
        number(replica.shard),
        number(replica.node),
        of(|content| number(content.applied_index)),
        of(|content| number(content.pairs)),
        of(|content| Datum::text(format!("{:016x}", content.checksum))),
        replica.agrees(all).map_or(Datum::Null, Datum::Bool),
    ]
}

impl PgSession {
    /// SHOW NODES, SHOW CLUSTER and SHOW CHECKSUMS.
    ///
    /// # Errors
    /// 55000 on a node that is alone, what the cluster raises.
    pub(super) async fn show_cluster(&mut self, show: ClusterShow) -> PgResult<Execution> {
        let control = self.cluster()?;
        let rows = match show {
            ClusterShow::Cluster => advice::of_cluster(&control.status().await?)
                .into_iter()
                .map(|fact| vec![Datum::text(fact.name), Datum::text(fact.value), text(fact.advice)])
                .collect(),
            ClusterShow::Checksums => {
                let all = control.checksums().await?;
                all.iter().map(|replica| checksum_row(replica, &all)).collect()
            }
            ClusterShow::Nodes => {
                let cluster = control.status().await?;
                let now = self.engine.clock_micros();
                let row = |node: &NodeStatus| {
                    let heard = node.last_heard.map(|ago| i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
                    vec![
                        number(node.id),
                        Datum::text(&*node.address),
                        Datum::text(&*node.sql_address),
                        Datum::text(node.state.name()),
                        Datum::Bool(node.is_alive),
                        heard.map_or(Datum::Null, |ago| Datum::Timestamptz(now.saturating_sub(ago))),
                        Datum::Bool(cluster.primary == Some(node.id)),
                        count(cluster.replicas_of(node.id)),
                        count(cluster.leaders_of(node.id)),
                        text(node.version.clone()),
                        text(advice::of_node(&cluster, node)),
                    ]
                };
                cluster.nodes.iter().map(row).collect()
            }
        };
        let mut result = self.text_rows(&[], rows, "SHOW");
        result.output = cluster_columns(show).into();
        Ok(result)
    }

    /// CREATE JOIN TOKEN.
    ///
    /// # Errors
    /// 25001 in a transaction block, 42501 for others than superusers, 22023 for a time that is too short or too long,
    /// 55000 on a node that is alone, what the cluster raises.
    pub(super) async fn create_join_token(&mut self, valid_for: Option<&Expr>) -> PgResult<Execution> {
        self.may_change_cluster("CREATE JOIN TOKEN", "create a join token")?;
        let valid_for = match valid_for {
            Some(expr) => self.token_lifetime(expr)?,
            None => JOIN_TOKEN_VALID_DEFAULT,
        };
        let cluster = self.cluster()?;
        let token = cluster.create_token(valid_for).await?;
        let status = cluster.status().await?;
        let mut addresses = status.nodes.iter().filter(|node| node.is_alive).map(|node| &*node.address);
        let address = addresses.next().unwrap_or("HOST:PORT");
        let notice = PgError::with_severity(
            Severity::Notice,
            SqlState::SUCCESSFUL_COMPLETION,
            format!("the token admits one node, within {} seconds", valid_for.as_secs()),
        );
        self.services.notice(notice.hint(format!(
            "On the new node: shardforge init --join {address} --token TOKEN --data-dir DIR --cluster-listen HOST:PORT"
        )));
        let mut result = self.text_rows(&TOKEN_COLUMNS, vec![vec![Datum::text(token)]], "CREATE JOIN TOKEN");
        result.output = token_columns().into();
        Ok(result)
    }

    /// ALTER NODE.
    ///
    /// # Errors
    /// 25001 in a transaction block, 42501 for others than superusers, 55000 on a node that is alone, what the cluster
    /// raises.
    pub(super) async fn alter_node(&mut self, stmt: &AlterNodeStmt) -> PgResult<Execution> {
        self.may_change_cluster("ALTER NODE", "alter a node")?;
        let cluster = self.cluster()?;
        match stmt.action {
            NodeAction::Drain => cluster.drain(stmt.node).await?,
            NodeAction::Resume => cluster.resume(stmt.node).await?,
            NodeAction::Decommission => cluster.decommission(stmt.node).await?,
        }
        Ok(Execution::done("ALTER NODE"))
    }

    /// The cluster that this node is part of.
    ///
    /// # Errors
    /// 55000 on a node that is alone.
    fn cluster(&self) -> PgResult<Arc<dyn ClusterControl>> {
        self.engine.options.cluster.clone().ok_or_else(|| {
            let message = "this node is alone and part of no cluster";
            PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .hint("Start it with --cluster-listen HOST:PORT, and other nodes can join it.")
        })
    }

    fn may_change_cluster(&mut self, statement: &str, action: &str) -> PgResult<()> {
        self.require_no_block(statement)?;
        if !self.is_superuser() {
            let message = format!("permission denied to {action}");
            return Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .detail("Only roles with the SUPERUSER attribute may change the cluster."));
        }
        if self.ensure_txn().read_only {
            let message = format!("cannot execute {statement} in a read-only transaction");
            return Err(PgError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    fn token_lifetime(&mut self, expr: &Expr) -> PgResult<Duration> {
        let scalar =
            self.with_bind_context(|cx| bind::bind_expression(expr, Some(Ty::new(oid::INTERVAL)), cx))?;
        let env = self.eval_env();
        let micros = match CompiledExpr::compile(&scalar, &|_| None)?.eval(&NoRow, &[], &env)? {
            Datum::Interval(interval) => micros_of(&Interval::clone(&interval)),
            _ => None,
        };
        let lifetime = micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros);
        lifetime.filter(|time| (Duration::from_secs(1)..=JOIN_TOKEN_VALID_MAX).contains(time)).ok_or_else(
            || {
                let message = "a join token is valid for one second at least and 30 days at most";
                PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                    .hint("Write an interval: CREATE JOIN TOKEN VALID FOR '10 minutes'.")
            },
        )
    }
}
