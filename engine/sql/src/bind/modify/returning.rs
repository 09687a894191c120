//! RETURNING: `transformReturningClause`. The table's own name means the row as it is written (of DELETE: as it
//! was); `old` and `new`, or the names given WITH, mean either.

use std::sync::Arc;

use shardforge_types::{PgError, PgResult, SqlState};

use super::Target;
use crate::bind::binder::{Binder, Clause, ColKind};
use crate::bind::scope::NsItem;
use crate::bind::select::QueryCol;
use crate::ir::{Col, Scalar};
use crate::parse::ast;

impl Binder<'_> {
    /// The RETURNING list; the table's columns have ids from `first` on.
    pub fn returning(
        &mut self,
        clause: Option<&ast::ReturningClause>,
        target: &Target,
        first: u32,
    ) -> PgResult<(Vec<(Col, Scalar)>, Vec<QueryCol>)> {
        let Some(clause) = clause else { return Ok((Vec::new(), Vec::new())) };
        self.point_target(target, first);
        let before = self.level().namespace.clone();
        self.name_row(clause.old_alias.as_ref(), "old", target, target.old, clause.pos)?;
        self.name_row(clause.new_alias.as_ref(), "new", target, target.new, clause.pos)?;
        let targets = self.target_list(&clause.targets, Clause::Returning);
        self.level().namespace = before;
        self.point_target(target, target.old);
        let mut items = Vec::new();
        let mut cols = Vec::new();
        for item in targets? {
            let expr = self.resolve_unknown(item.expr)?;
            let col = self.new_col(expr.ty, ColKind::From);
            cols.push(QueryCol { name: item.name, col, origin: item.origin, pos: item.pos });
            items.push((col, expr));
        }
        Ok((items, cols))
    }

    fn name_row(
        &mut self,
        alias: Option<&Arc<str>>,
        name: &str,
        target: &Target,
        first: u32,
        pos: u32,
    ) -> PgResult<()> {
        let level = self.level();
        let taken =
            |name: &str| level.namespace.iter().any(|n| n.rel_visible && *level.rtes[n.rte].name == *name);
        let name: Arc<str> = match alias {
            Some(alias) if taken(alias) => {
                let message = format!("table name \"{alias}\" specified more than once");
                return Err(PgError::new(SqlState::DUPLICATE_ALIAS, message).at(pos));
            }
            Some(alias) => alias.clone(),
            // A table that is called so itself keeps the name.
            None if taken(name) => return Ok(()),
            None => Arc::from(name),
        };
        let rte = self.table_rte(&target.table, &name, first);
        let level = self.level();
        level.rtes.push(rte);
        let rte = level.rtes.len() - 1;
        level.namespace.push(NsItem { cols_visible: false, ..NsItem::visible(rte) });
        Ok(())
    }
}
