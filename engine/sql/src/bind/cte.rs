//! WITH: `parse_cte.c`. Plain, recursive and data-modifying common table expressions.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::binder::{Binder, ColKind, CteEntry, CteState, Level, NoRecursion};
use super::from::FromItem;
use super::scope::{Columns, Rte, RteColumn};
use super::select::{Query, QueryCol};
use super::types::format_type;
use crate::ir::{Col, Cte, CteBody, CteId, Rel, Scalar, Ty};
use crate::parse::ast;

/// The terms of a recursive expression, bound.
enum Terms {
    /// It does not refer to itself.
    Plain(Query),
    Recursive(Vec<Col>, CteBody),
}

impl Binder<'_> {
    /// Binds the expressions of a WITH clause at the current level.
    pub fn with_clause(&mut self, with: &ast::WithClause) -> PgResult<()> {
        for (i, cte) in with.ctes.iter().enumerate() {
            if with.ctes[..i].iter().any(|other| other.name == cte.name) {
                let message = format!("WITH query name \"{}\" specified more than once", cte.name);
                return Err(PgError::new(SqlState::DUPLICATE_ALIAS, message).at(cte.pos));
            }
            let modifies = !matches!(cte.query, ast::Statement::Select(_));
            if modifies && self.levels.len() > 1 {
                let message = "WITH clause containing a data-modifying statement must be at the top level";
                return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(cte.pos));
            }
            if cte.search.is_some() || cte.cycle.is_some() {
                let clause = if cte.search.is_some() { "SEARCH" } else { "CYCLE" };
                return Err(PgError::not_supported(format!("the {clause} clause of WITH is not supported"))
                    .hint("Keep the path in a column of the recursive query.")
                    .at(cte.pos));
            }
        }
        let base = self.level().ctes.len();
        for cte in &with.ctes {
            let id = CteId(self.next_cte);
            self.next_cte += 1;
            let entry = CteEntry {
                name: cte.name.clone(),
                id,
                cols: Vec::new(),
                state: CteState::NotYet,
                references: 0,
                around: self.recursion.len(),
            };
            self.level().ctes.push(entry);
        }
        for (i, cte) in with.ctes.iter().enumerate() {
            let place = base + i;
            match &cte.query {
                ast::Statement::Select(select) => match (&select.set_op, with.recursive) {
                    (Some(operation), true) if is_union_of(select, operation) => {
                        self.recursive_cte(place, cte, select.with.as_ref(), operation)?;
                    }
                    (_, recursive) => self.plain_cte(place, cte, select, recursive)?,
                },
                statement => self.modifying_cte(place, cte, statement, with.recursive)?,
            }
        }
        Ok(())
    }

    fn plain_cte(
        &mut self,
        place: usize,
        cte: &ast::CommonTableExpr,
        select: &ast::SelectStmt,
        recursive: bool,
    ) -> PgResult<()> {
        if recursive {
            // A reference to itself would not be of the right form.
            self.level().ctes[place].state = CteState::BaseTerm;
        }
        let mut query = self
            .nested(Level::new(), |b| b.select(select, true))
            .map_err(|e| if recursive && refers_to_itself(&e) { not_recursive(cte, select) } else { e })?;
        self.resolve_output(&mut query)?;
        self.cte_ready(place, cte, &query)?;
        self.keep_plain(place, cte, query);
        Ok(())
    }

    /// Names the columns of a bound expression: from now on it can be referred to.
    fn cte_ready(&mut self, place: usize, cte: &ast::CommonTableExpr, query: &Query) -> PgResult<()> {
        let depth = self.levels.len() - 1;
        self.name_columns((depth, place), cte, query)
    }

    fn name_columns(
        &mut self,
        (depth, place): (usize, usize),
        cte: &ast::CommonTableExpr,
        query: &Query,
    ) -> PgResult<()> {
        if cte.columns.len() > query.cols.len() {
            let message = format!(
                "WITH query \"{}\" has {} columns available but {} columns specified",
                cte.name,
                query.cols.len(),
                cte.columns.len()
            );
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(cte.pos));
        }
        let name = |i: usize, own: &Arc<str>| cte.columns.get(i).unwrap_or(own).clone();
        let cols =
            query.cols.iter().enumerate().map(|(i, c)| (name(i, &c.name), c.col.ty, c.origin)).collect();
        let entry = &mut self.levels[depth].ctes[place];
        entry.cols = cols;
        entry.state = CteState::Ready;
        Ok(())
    }

    fn keep_plain(&mut self, place: usize, cte: &ast::CommonTableExpr, query: Query) {
        let cols = query.cols.iter().map(|c| c.col).collect();
        let ids = query.ids();
        self.keep_cte(place, cte, cols, CteBody::Plain(Box::new(query.rel), ids));
    }

    fn keep_cte(&mut self, place: usize, cte: &ast::CommonTableExpr, cols: Vec<Col>, body: CteBody) {
        let id = self.level().ctes[place].id;
        let bound =
            Cte { id, name: cte.name.to_string(), cols, body, materialized: cte.materialized, references: 0 };
        self.level().bound_ctes.push(bound);
    }

    fn recursive_cte(
        &mut self,
        place: usize,
        cte: &ast::CommonTableExpr,
        with: Option<&ast::WithClause>,
        operation: &ast::SetOperation,
    ) -> PgResult<()> {
        // A WITH of its own is for both terms, which are then bound one level deeper.
        let Some(with) = with else {
            let depth = self.levels.len() - 1;
            return match self.recursive_terms((depth, place), cte, operation)? {
                Terms::Plain(query) => {
                    self.cte_ready(place, cte, &query)?;
                    self.keep_plain(place, cte, query);
                    Ok(())
                }
                Terms::Recursive(cols, body) => {
                    self.keep_cte(place, cte, cols, body);
                    Ok(())
                }
            };
        };
        let at = (self.levels.len() - 1, place);
        let query = self.nested(Level::new(), |b| {
            b.levels[at.0].ctes[place].state = CteState::StepTerm;
            b.without_recursion(Some(NoRecursion::Subquery), |b| b.with_clause(with))?;
            let terms = b.recursive_terms(at, cte, operation)?;
            let mut ctes = std::mem::take(&mut b.level().bound_ctes);
            let mut query = match terms {
                Terms::Plain(query) => query,
                Terms::Recursive(cols, body) => {
                    let id = b.levels[at.0].ctes[place].id;
                    ctes.push(Cte {
                        id,
                        name: cte.name.to_string(),
                        cols: cols.clone(),
                        body,
                        materialized: cte.materialized,
                        references: 1,
                    });
                    let names: Vec<Arc<str>> =
                        b.levels[at.0].ctes[place].cols.iter().map(|(name, ..)| name.clone()).collect();
                    let cols: Vec<Col> = cols.iter().map(|c| b.new_col(c.ty, ColKind::From)).collect();
                    let output = names.into_iter().zip(&cols).map(|(name, &col)| QueryCol {
                        name,
                        col,
                        origin: (Oid(0), 0),
                        pos: cte.pos,
                    });
                    Query { cols: output.collect(), rel: Rel::CteScan { cte: id, cols } }
                }
            };
            let ctes = b.count_references(ctes);
            query.rel = Rel::With { ctes, body: Box::new(query.rel) };
            Ok(query)
        })?;
        // References from outside are to all of this.
        let id = CteId(self.next_cte);
        self.next_cte += 1;
        self.level().ctes[place].id = id;
        self.cte_ready(place, cte, &query)?;
        self.keep_plain(place, cte, query);
        Ok(())
    }

    /// Both terms of the recursive expression that is the entry `place` of the level at `depth`.
    fn recursive_terms(
        &mut self,
        (depth, place): (usize, usize),
        cte: &ast::CommonTableExpr,
        operation: &ast::SetOperation,
    ) -> PgResult<Terms> {
        self.levels[depth].ctes[place].state = CteState::BaseTerm;
        let base = self.nested(Level::new(), |b| {
            let mut base = b.select(&operation.left, false)?;
            b.resolve_output(&mut base)?;
            Ok(base)
        })?;
        self.name_columns((depth, place), cte, &base)?;
        let entry = &mut self.levels[depth].ctes[place];
        entry.state = CteState::StepTerm;
        entry.references = 0;
        let mut step = self.nested(Level::new(), |b| b.select(&operation.right, false))?;
        let entry = &mut self.levels[depth].ctes[place];
        let references = std::mem::take(&mut entry.references);
        entry.state = CteState::Ready;
        if references == 0 {
            // It does not refer to itself after all.
            let mut query = self.combine(operation, base, step)?;
            self.resolve_output(&mut query)?;
            return Ok(Terms::Plain(query));
        }
        self.check_recursive_types(cte, &base, &mut step, operation)?;
        let cols: Vec<Col> = base.cols.iter().map(|c| self.new_col(c.col.ty, ColKind::From)).collect();
        let (base_ids, step_ids) = (base.ids(), step.ids());
        let body = CteBody::Recursive {
            base: (Box::new(base.rel), base_ids),
            step: (Box::new(step.rel), step_ids),
            all: operation.all,
        };
        Ok(Terms::Recursive(cols, body))
    }

    /// The types of the recursive term must be those of the other one.
    fn check_recursive_types(
        &mut self,
        cte: &ast::CommonTableExpr,
        base: &Query,
        step: &mut Query,
        operation: &ast::SetOperation,
    ) -> PgResult<()> {
        if base.cols.len() != step.cols.len() {
            let at = step.cols.first().map_or(operation.right.pos, |c| c.pos);
            let message = "each UNION query must have the same number of columns";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(at));
        }
        for (i, column) in base.cols.iter().enumerate() {
            let inputs =
                [(column.col.ty.oid, Some(column.pos)), (step.cols[i].col.ty.oid, Some(step.cols[i].pos))];
            let common = super::coerce::common_type(self.cx, &inputs, "UNION")?;
            let typmod =
                super::coerce::common_typmod([column.col.ty, step.cols[i].col.ty].into_iter(), common);
            let overall = Ty::new(common).with_typmod(typmod);
            if overall.oid != column.col.ty.oid || overall.typmod != column.col.ty.typmod {
                let message = format!(
                    "recursive query \"{}\" column {} has type {} in non-recursive term but type {} overall",
                    cte.name,
                    i + 1,
                    format_type(self.cx, column.col.ty.oid, column.col.ty.typmod),
                    format_type(self.cx, overall.oid, overall.typmod)
                );
                return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message)
                    .hint("Cast the output of the non-recursive term to the correct type.")
                    .at(column.pos));
            }
            self.coerce_output(step, i, overall, "UNION")?;
        }
        Ok(())
    }

    fn modifying_cte(
        &mut self,
        place: usize,
        cte: &ast::CommonTableExpr,
        statement: &ast::Statement,
        recursive: bool,
    ) -> PgResult<()> {
        if recursive {
            self.level().ctes[place].state = CteState::BaseTerm;
        }
        let (modify, cols) = self.nested(Level::new(), |b| b.modify(statement)).map_err(|e| {
            if recursive && refers_to_itself(&e) {
                let message =
                    format!("recursive query \"{}\" must not contain data-modifying statements", cte.name);
                return PgError::new(SqlState::INVALID_RECURSION, message).at(cte.pos);
            }
            e
        })?;
        let rel = Rel::Modify(Box::new(modify));
        let query = Query { rel, cols };
        self.cte_ready(place, cte, &query)?;
        if query.cols.is_empty() {
            self.level().ctes[place].state = CteState::NoReturning;
        }
        self.keep_plain(place, cte, query);
        Ok(())
    }

    /// A name of FROM as a common table expression, innermost level first.
    pub fn from_cte(&mut self, name: &ast::RangeVar) -> PgResult<Option<FromItem>> {
        for depth in (0..self.levels.len()).rev() {
            let found = self.levels[depth]
                .ctes
                .iter()
                .position(|c| c.name == name.name && c.state != CteState::NotYet);
            let Some(place) = found else {
                if self.levels[depth].barrier {
                    break;
                }
                continue;
            };
            let entry = &mut self.levels[depth].ctes[place];
            match entry.state {
                CteState::NoReturning => {
                    let message = format!("WITH query \"{}\" does not have a RETURNING clause", name.name);
                    return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(name.pos));
                }
                CteState::BaseTerm => {
                    return Err(misplaced(name, "within its non-recursive term"));
                }
                CteState::Ready | CteState::StepTerm | CteState::NotYet => {}
            }
            entry.references += 1;
            if entry.state == CteState::StepTerm {
                // The innermost of the reasons counts, but an outer join gives way to any other.
                let reasons = &self.recursion[entry.around..];
                let inner = reasons.iter().rev().find(|reason| **reason != NoRecursion::OuterJoin);
                let place = match inner.or(reasons.first()) {
                    Some(NoRecursion::Subquery) => "within a subquery",
                    Some(NoRecursion::OuterJoin) => "within an outer join",
                    Some(NoRecursion::Intersect) => "within INTERSECT",
                    Some(NoRecursion::Except) => "within EXCEPT",
                    None if entry.references > 1 => "more than once",
                    None => "",
                };
                if !place.is_empty() {
                    return Err(misplaced(name, place));
                }
            }
            let recursive = entry.state == CteState::StepTerm;
            let (id, columns) = (entry.id, entry.cols.clone());
            self.level().refers_to_itself |= recursive;
            return Ok(Some(self.scan_cte(id, &columns, name)?));
        }
        Ok(None)
    }

    fn scan_cte(
        &mut self,
        id: CteId,
        columns: &[(Arc<str>, Ty, (Oid, i16))],
        name: &ast::RangeVar,
    ) -> PgResult<FromItem> {
        let aliases: &[Arc<str>] = name.alias.as_ref().map_or(&[], |a| &a.columns);
        let alias = name.alias.as_ref().map_or(&name.name, |a| &a.name);
        super::from::check_alias_count(alias, aliases.len(), columns.len())?;
        let mut cols = Vec::with_capacity(columns.len());
        let mut list = Vec::with_capacity(columns.len());
        for (i, (column, ty, origin)) in columns.iter().enumerate() {
            let col = self.new_col(*ty, ColKind::From);
            cols.push(col);
            list.push(RteColumn {
                name: aliases.get(i).unwrap_or(column).clone(),
                expr: Scalar::column(col.id, col.ty),
                origin: *origin,
            });
        }
        let rte = Rte {
            name: alias.clone(),
            aliased: name.alias.is_some(),
            relation: None,
            columns: Columns::List(list),
            is_join: false,
            scalar_function: false,
            is_query: false,
            is_cte: true,
        };
        Ok(self.single_item(Rel::CteScan { cte: id, cols }, rte))
    }

    /// Whether a WITH item of the name exists that cannot be referenced yet.
    pub fn is_future_cte(&self, name: &str) -> bool {
        self.levels.iter().flat_map(|l| &l.ctes).any(|c| *c.name == *name && c.state == CteState::NotYet)
    }

    /// Notes how often each expression is referred to.
    pub fn count_references(&mut self, ctes: Vec<Cte>) -> Vec<Cte> {
        let entries: Vec<(CteId, usize)> = self.level().ctes.iter().map(|c| (c.id, c.references)).collect();
        let references = |id: CteId| entries.iter().find(|(e, _)| *e == id).map_or(0, |(_, n)| *n);
        ctes.into_iter().map(|cte| Cte { references: references(cte.id), ..cte }).collect()
    }
}

/// Whether binding failed because a query that cannot be recursive refers to itself.
fn refers_to_itself(error: &PgError) -> bool {
    error.sqlstate == SqlState::INVALID_RECURSION && error.message.contains("within its non-recursive term")
}

/// Why a query that refers to itself is not of the form that a recursive one must have.
fn not_recursive(cte: &ast::CommonTableExpr, select: &ast::SelectStmt) -> PgError {
    let is_union = select.set_op.as_ref().is_some_and(|operation| operation.op == ast::SetOp::Union);
    let clause = if !select.order_by.is_empty() {
        "ORDER BY"
    } else if select.limit_offset.is_some() {
        "OFFSET"
    } else if select.limit_count.is_some() {
        "LIMIT"
    } else {
        "FOR UPDATE/SHARE"
    };
    if is_union {
        let message = format!("{clause} in a recursive query is not implemented");
        return PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(cte.pos);
    }
    let message = format!(
        "recursive query \"{}\" does not have the form non-recursive-term UNION [ALL] recursive-term",
        cte.name
    );
    PgError::new(SqlState::INVALID_RECURSION, message).at(cte.pos)
}

fn misplaced(name: &ast::RangeVar, place: &str) -> PgError {
    let message = format!("recursive reference to query \"{}\" must not appear {place}", name.name);
    PgError::new(SqlState::INVALID_RECURSION, message).at(name.pos)
}

/// Whether a query is a plain UNION of two: the form that a recursive one must have.
fn is_union_of(select: &ast::SelectStmt, operation: &ast::SetOperation) -> bool {
    operation.op == ast::SetOp::Union
        && select.order_by.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking.is_empty()
}
