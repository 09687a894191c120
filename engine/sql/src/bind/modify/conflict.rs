//! ON CONFLICT: which unique indexes arbitrate (`infer_arbiter_indexes`), and what happens to the row that is there.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::Target;
use crate::bind::binder::{Binder, Clause};
use crate::bind::scope::NsItem;
use crate::bind::walk::same_expr;
use crate::catalog::{IndexDesc, IndexKey, IndexState};
use crate::ir::{ConflictUpdate, OnConflict, Scalar};
use crate::parse::ast;

/// A key of an inference specification.
enum Wanted {
    Column(i16),
    Expression(Scalar),
}

impl Binder<'_> {
    /// ON CONFLICT of an INSERT.
    pub fn on_conflict(&mut self, clause: &ast::OnConflictClause, target: &Target) -> PgResult<OnConflict> {
        self.level().namespace = vec![NsItem::visible(target.rte)];
        let arbiters = match &clause.infer {
            Some(infer) => self.arbiters(infer, target)?,
            None => Vec::new(),
        };
        let arbitrates = |index: &&IndexDesc| arbiters.is_empty() || arbiters.contains(&index.oid);
        if let Some(index) = target.table.indexes.iter().filter(arbitrates).find(|index| index.deferrable) {
            let message = "ON CONFLICT does not support deferrable unique constraints/exclusion constraints as arbiters";
            return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .schema(
                    self.cx
                        .catalog
                        .schemas
                        .get(&target.table.schema)
                        .map_or("", |schema| schema.name.as_str()),
                )
                .table(&*target.table.name)
                .constraint(&*index.name));
        }
        let update = match &clause.update {
            Some(update) => Some(self.conflict_update(update, target)?),
            None => None,
        };
        Ok(OnConflict { arbiters, update })
    }

    fn conflict_update(
        &mut self,
        update: &ast::OnConflictUpdate,
        target: &Target,
    ) -> PgResult<ConflictUpdate> {
        let first = self.reserve_cols(target.table.columns.len().max(1));
        let excluded = self.table_rte(&target.table, &Arc::from("excluded"), first);
        let level = self.level();
        level.rtes.push(excluded);
        let excluded = level.rtes.len() - 1;
        // `excluded` columns must be qualified; unqualified ones would be ambiguous, as in PostgreSQL.
        level.namespace.push(NsItem::visible(excluded));
        let filter = match &update.where_clause {
            Some(expr) => {
                let expr = self.expr_in(expr, Clause::Where)?;
                Some(self.coerce_to_boolean(expr, "WHERE")?)
            }
            None => None,
        };
        let assignments = self.assignments(&update.set, target)?;
        Ok(ConflictUpdate { excluded: target.cols(first), assignments, filter })
    }

    fn arbiters(&mut self, infer: &ast::InferClause, target: &Target) -> PgResult<Vec<Oid>> {
        if let Some(name) = &infer.constraint {
            let found = target.table.indexes.iter().find(|i| i.constraint.is_some() && *i.name == **name);
            return match found {
                Some(index) => Ok(vec![index.oid]),
                None => {
                    let message =
                        format!("constraint \"{name}\" for table \"{}\" does not exist", target.table.name);
                    Err(PgError::new(SqlState::UNDEFINED_OBJECT, message))
                }
            };
        }
        let mut wanted = Vec::with_capacity(infer.elements.len());
        for element in &infer.elements {
            let key = self.wanted_key(element, target)?;
            // Saying it twice says no more.
            let again = wanted.iter().any(|known| match (known, &key) {
                (Wanted::Column(a), Wanted::Column(b)) => a == b,
                (Wanted::Expression(a), Wanted::Expression(b)) => same_expr(a, b),
                _ => false,
            });
            if !again {
                wanted.push(key);
            }
        }
        let predicate = match &infer.where_clause {
            Some(expr) => {
                let expr = self.expr_in(expr, Clause::Where)?;
                Some(self.coerce_to_boolean(expr, "WHERE")?)
            }
            None => None,
        };
        let mut found = Vec::new();
        for index in target.table.indexes.iter().filter(|i| i.unique && i.state == IndexState::Public) {
            if self.index_matches(index, &wanted)? && self.predicate_implied(index, predicate.as_ref())? {
                found.push(index.oid);
            }
        }
        if found.is_empty() {
            let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        Ok(found)
    }

    fn wanted_key(&mut self, element: &ast::IndexElem, target: &Target) -> PgResult<Wanted> {
        if element.descending.is_some() {
            let message = "ASC/DESC is not allowed in ON CONFLICT clause";
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(element.pos));
        }
        if element.nulls != ast::SortNulls::Default {
            let message = "NULLS FIRST/LAST is not allowed in ON CONFLICT clause";
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(element.pos));
        }
        match &element.key {
            ast::IndexKey::Column(name) => match target.table.column_by_name(name) {
                Some((attnum, _)) => Ok(Wanted::Column(attnum)),
                None => Err(self.missing_column(None, name, element.pos)),
            },
            ast::IndexKey::Expr(expr) => Ok(Wanted::Expression(self.expr_in(expr, Clause::Where)?)),
        }
    }

    /// Whether an index has exactly the wanted keys, in any order.
    fn index_matches(&mut self, index: &IndexDesc, wanted: &[Wanted]) -> PgResult<bool> {
        let columns: Vec<i16> = wanted
            .iter()
            .filter_map(|w| match w {
                Wanted::Column(attnum) => Some(*attnum),
                Wanted::Expression(_) => None,
            })
            .collect();
        let mut expressions = 0;
        for column in &index.columns {
            match &column.key {
                IndexKey::Column(attnum) if columns.contains(attnum) => {}
                IndexKey::Column(_) => return Ok(false),
                IndexKey::Expression(sql) => {
                    let expr = self.catalog_expression(sql)?;
                    let matches = |w: &Wanted| matches!(w, Wanted::Expression(e) if same_expr(e, &expr));
                    if !wanted.iter().any(matches) {
                        return Ok(false);
                    }
                    expressions += 1;
                }
            }
        }
        let indexed = |attnum: &i16| index.columns.iter().any(|c| c.key == IndexKey::Column(*attnum));
        let distinct_expressions = wanted.len() - columns.len();
        Ok(columns.iter().all(indexed) && expressions >= distinct_expressions)
    }

    /// A partial index arbitrates only where its predicate is asked for.
    fn predicate_implied(&mut self, index: &IndexDesc, given: Option<&Scalar>) -> PgResult<bool> {
        let Some(sql) = &index.predicate else { return Ok(true) };
        let Some(given) = given else { return Ok(false) };
        let wanted = self.catalog_expression(sql)?.conjuncts();
        let given = given.clone().conjuncts();
        Ok(wanted.iter().all(|w| given.iter().any(|g| same_expr(w, g))))
    }

    /// An expression of the catalog over the written table's columns, which are all that can be named now.
    fn catalog_expression(&mut self, sql: &str) -> PgResult<Scalar> {
        let expr = crate::parse::parse_expression(sql)?;
        self.expr_in(&expr, Clause::Where)
    }
}
