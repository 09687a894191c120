//! Statements about the nodes of a cluster, which PostgreSQL does not have. Only CLUSTER, JOIN, VALID and FOR are keywords;
//! the other words stay free for names.
//!
//! ```text
//!   SHOW NODES
//!   SHOW CLUSTER
//!   SHOW CHECKSUMS
//!   CREATE JOIN TOKEN [ VALID FOR { 'interval' | INTERVAL 'interval' } ]
//!   ALTER NODE number { DRAIN | RESUME | DECOMMISSION }
//! ```

use super::ast::{AlterNodeStmt, ClusterShow, NodeAction, Statement, Value};
use super::cursor::Parser;
use super::error::PResult;
use super::expr::constant;
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    /// What follows SHOW, if it is NODES, CLUSTER or CHECKSUMS and not a setting of such a name.
    pub(super) fn opt_show_cluster(&mut self) -> Option<Statement> {
        let show = if self.at_kw(Kw::Cluster) {
            ClusterShow::Cluster
        } else if self.at_word("nodes") {
            ClusterShow::Nodes
        } else if self.at_word("checksums") {
            ClusterShow::Checksums
        } else {
            return None;
        };
        if self.kind_at(1) == Kind::Char(b'.') {
            return None;
        }
        self.bump();
        Some(Statement::ShowCluster(show))
    }

    /// Whether JOIN TOKEN stands here.
    pub(super) fn at_join_token(&self) -> bool {
        self.at_kw(Kw::Join) && self.at_word_n(1, "token")
    }

    /// `JOIN TOKEN [VALID FOR 'interval']`, after CREATE.
    pub(super) fn create_join_token(&mut self) -> PResult<Statement> {
        self.bump();
        self.bump();
        let valid_for = if self.eat_kw(Kw::Valid) {
            self.expect_kw(Kw::For)?;
            let pos = self.pos();
            Some(Box::new(if self.at_kw(Kw::Interval) {
                self.interval_literal()?
            } else {
                constant(Value::String(self.string()?), pos)
            }))
        } else {
            None
        };
        Ok(Statement::CreateJoinToken(valid_for))
    }

    /// `NODE number action`, after ALTER.
    pub(super) fn alter_node(&mut self) -> PResult<Statement> {
        self.bump();
        // The lexer knows no negative numbers.
        let node = u64::from(self.int()?.unsigned_abs());
        let actions = [
            ("drain", NodeAction::Drain),
            ("resume", NodeAction::Resume),
            ("decommission", NodeAction::Decommission),
        ];
        let Some((_, action)) = actions.into_iter().find(|(word, _)| self.at_word(word)) else {
            return self.unexpected();
        };
        self.bump();
        Ok(Statement::AlterNode(AlterNodeStmt { node, action }))
    }
}
