//! Statements about shards, which PostgreSQL does not have. SHARDS and SPLIT are no keywords: they stay free for
//! names.
//!
//! ```text
//!   SHOW SHARDS [ FROM { TABLE | INDEX } name ]
//!   ALTER { TABLE | INDEX } name SPLIT AT VALUES ( value [, ...] ) [, ...]
//! ```

use super::ast::{AlterTableCmd, AlterTableKind, ShardsOf, ShowShardsStmt, Statement};
use super::cursor::Parser;
use super::error::PResult;
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    /// What follows SHOW, if it is SHARDS and not a setting of that name.
    pub(super) fn opt_show_shards(&mut self) -> PResult<Option<Statement>> {
        if !self.at_word("shards") || self.kind_at(1) == Kind::Char(b'.') {
            return Ok(None);
        }
        self.bump();
        let from = if self.eat_kw(Kw::From) {
            Some(match self.kind() {
                Kind::Kw(Kw::Table) => {
                    self.bump();
                    ShardsOf::Table(self.qualified_name()?)
                }
                Kind::Kw(Kw::Index) => {
                    self.bump();
                    ShardsOf::Index(self.qualified_name()?)
                }
                _ => return self.unexpected(),
            })
        } else {
            None
        };
        Ok(Some(Statement::ShowShards(Box::new(ShowShardsStmt { from }))))
    }

    /// SPLIT AT, which stands alone in its ALTER.
    pub(super) fn opt_split_command(&mut self) -> PResult<Option<AlterTableCmd>> {
        if !self.at_word("split") {
            return Ok(None);
        }
        let pos = self.bump().start;
        self.expect_kws(&[Kw::At, Kw::Values])?;
        let rows = self.list(|p| p.paren_list(Self::expr))?;
        Ok(Some(AlterTableCmd { kind: AlterTableKind::SplitAt(rows), pos }))
    }
}
