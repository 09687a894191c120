//! FROM: `transformFromClause`. Tables, sub-selects, joins; functions are in `table_function.rs`.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::binder::{AtMaybe, Binder, Clause, Level, NoRecursion};
use super::relation::{Found, open_relation};
use super::scope::{ColumnMatch, Columns, FoundColumn, NsItem, Rte, RteColumn};
use super::select::Query;
use super::types::column_ty;
use super::walk::{visit, visit_rel};
use crate::catalog::builtin::SystemRelation;
use crate::catalog::{SequenceDesc, TableDesc, ViewDesc};
use crate::ir::{Col, ColId, JoinKind, Rel, Scalar, ScalarKind, Scan, Ty};
use crate::parse::ast::{self, TableRef};

/// A bound item of FROM.
pub(super) struct FromItem {
    pub rel: Rel,
    /// What of it may be named.
    pub names: Vec<NsItem>,
    /// Columns of the same level that it uses without producing them: it is LATERAL.
    pub outer: Vec<ColId>,
}

impl Binder<'_> {
    /// FROM as one relation; its names become visible.
    pub fn from_clause(&mut self, items: &[TableRef]) -> PgResult<Rel> {
        let mut rel: Option<Rel> = None;
        for item in items {
            let bound = self.from_item(item)?;
            let names = std::mem::take(&mut self.level().namespace);
            let conflict = self.check_name_conflicts(&names, &bound.names);
            self.level().namespace = names;
            conflict?;
            let added = bound.names.into_iter().map(|n| NsItem { lateral_only: true, lateral_ok: true, ..n });
            self.level().namespace.extend(added);
            rel = Some(match rel {
                None => bound.rel,
                Some(left) => Rel::Join {
                    kind: JoinKind::Inner,
                    left: Box::new(left),
                    right: Box::new(bound.rel),
                    on: Scalar::bool(true),
                    lateral: !bound.outer.is_empty(),
                },
            });
        }
        for name in &mut self.level().namespace {
            name.lateral_only = false;
        }
        Ok(rel.unwrap_or(Rel::Unit))
    }

    /// One item of FROM.
    pub fn from_item(&mut self, item: &TableRef) -> PgResult<FromItem> {
        match item {
            TableRef::Table(name) => self.from_table(name),
            TableRef::Subselect(sub) => self.from_subselect(sub),
            TableRef::Function(function) => self.from_function(function),
            TableRef::Join(join) => self.deeper(|b| b.from_join(join)),
            TableRef::Sample(sample) => Err(PgError::not_supported("TABLESAMPLE is not supported")
                .hint("Use a condition on random() instead.")
                .at(sample.pos)),
            TableRef::TableFunc(function) => {
                let name = function.name.to_uppercase();
                Err(PgError::not_supported(format!("{name} is not supported"))
                    .hint("Use the functions of types json and jsonb.")
                    .at(function.pos))
            }
        }
    }

    fn from_table(&mut self, name: &ast::RangeVar) -> PgResult<FromItem> {
        if name.schema.is_none()
            && let Some(item) = self.from_cte(name)?
        {
            return Ok(item);
        }
        match self.open_in_from(name)? {
            Found::Table(table) => {
                self.note_table(&table, ObjectLockMode::AccessShare);
                let (rel, rte) = self.scan_table(table, name)?;
                Ok(self.single_item(rel, rte))
            }
            Found::System(relation) => self.from_system(relation, name),
            Found::View(view) => self.from_view(&view, name),
            Found::Sequence(sequence) => self.from_sequence(&sequence, name),
            Found::Index(_, index) => {
                let message = format!("cannot open relation \"{index}\"");
                Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .detail("This operation is not supported for indexes.")
                    .at(name.pos))
            }
        }
    }

    /// A relation of FROM; a WITH item that cannot be referenced is mentioned in the error.
    fn open_in_from(&mut self, name: &ast::RangeVar) -> PgResult<Found> {
        open_relation(self.cx, name).map_err(|error| {
            if name.schema.is_none() && self.is_future_cte(&name.name) {
                let detail = format!(
                    "There is a WITH item named \"{}\", but it cannot be referenced from this part of the query.",
                    name.name
                );
                return error
                    .detail(detail)
                    .hint("Use WITH RECURSIVE, or re-order the WITH items to remove forward references.");
            }
            error
        })
    }

    /// A scan of a table, with ids reserved for its columns.
    pub fn scan_table(&mut self, table: Arc<TableDesc>, name: &ast::RangeVar) -> PgResult<(Rel, Rte)> {
        let first = self.reserve_cols(table.columns.len().max(1));
        let aliases = self.column_aliases(name, table.live_columns().count())?;
        let alias = name.alias.as_ref().map_or(&name.name, |a| &a.name);
        let rte = Rte {
            name: alias.clone(),
            aliased: name.alias.is_some(),
            relation: Some((table.schema, table.oid, Arc::from(table.name.as_str()))),
            columns: Columns::Table { table: table.clone(), first, aliases },
            is_join: false,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        };
        // Until the level is finished the one column tells the first id: see `finish_scans`.
        let marker = Col { id: ColId(first), ty: Ty::new(oid::UNKNOWN) };
        let scan =
            Scan { table, cols: vec![(marker, 0)], row_key: None, tableoid: None, alias: alias.to_string() };
        Ok((Rel::Scan(scan), rte))
    }

    fn column_aliases(&self, name: &ast::RangeVar, available: usize) -> PgResult<Vec<Arc<str>>> {
        let Some(alias) = &name.alias else { return Ok(Vec::new()) };
        check_alias_count(&alias.name, alias.columns.len(), available).map_err(|e| e.at_maybe(None))?;
        Ok(alias.columns.clone())
    }

    fn from_system(&mut self, relation: &'static SystemRelation, name: &ast::RangeVar) -> PgResult<FromItem> {
        let first = self.reserve_cols(relation.columns.len().max(1));
        let aliases = self.column_aliases(name, relation.columns.len())?;
        let alias = name.alias.as_ref().map_or(&name.name, |a| &a.name);
        let rte = Rte {
            name: alias.clone(),
            aliased: name.alias.is_some(),
            relation: Some((relation.namespace, relation.oid, Arc::from(relation.name))),
            columns: Columns::System { relation, first, aliases },
            is_join: false,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        };
        let marker = Col { id: ColId(first), ty: Ty::new(oid::UNKNOWN) };
        let rel = Rel::SystemScan { relation: relation.oid, cols: vec![(marker, 0)] };
        Ok(self.single_item(rel, rte))
    }

    /// A sequence, as the table of one row that it is to a reader.
    fn from_sequence(&mut self, sequence: &Arc<SequenceDesc>, name: &ast::RangeVar) -> PgResult<FromItem> {
        self.note_relation(sequence.oid, sequence.version);
        let sql = format!(
            "SELECT last_value, 0::bigint AS log_cnt, is_called FROM pg_catalog.pg_get_sequence_data({})",
            sequence.oid.0
        );
        let stmt = super::statement::parse_query(&sql)?;
        let level = Level { barrier: true, ..Level::new() };
        let query = self.nested(level, |b| b.select(&stmt, true))?;
        let aliases = self.column_aliases(name, query.cols.len())?;
        let alias = name.alias.as_ref().map_or(&name.name, |a| &a.name);
        let mut item = self.query_item(query, alias.clone(), &aliases);
        if let Some(rte) = item.names.first().map(|n| n.rte) {
            let rte = &mut self.level().rtes[rte];
            rte.relation = Some((sequence.schema, sequence.oid, Arc::from(sequence.name.as_str())));
            rte.aliased = name.alias.is_some();
        }
        item.outer.clear();
        Ok(item)
    }

    /// A view: its query, bound anew without the names of the query around it.
    fn from_view(&mut self, view: &Arc<ViewDesc>, name: &ast::RangeVar) -> PgResult<FromItem> {
        self.note_relation(view.oid, view.version);
        self.note_lock(view.oid, ObjectLockMode::AccessShare);
        if self.views.contains(&view.oid) {
            let message = format!("infinite recursion detected in rules for relation \"{}\"", view.name);
            return Err(PgError::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
        let stmt = super::statement::parse_query(&view.sql)?;
        let level = Level { barrier: true, ..Level::new() };
        // Its names mean what they meant when it was made.
        let cx = BindContext { search_path: &view.search_path, temp_schema: None, ..self.cx.clone() };
        self.views.push(view.oid);
        let query = self.with_context(&cx, |b| b.nested(level, |b| b.select(&stmt, true)));
        self.views.pop();
        let mut query = query.map_err(|mut error| {
            error.fields_mut().position = None;
            error
        })?;
        for (column, (column_name, ..)) in query.cols.iter_mut().zip(&view.columns) {
            column.name = Arc::from(column_name.as_str());
        }
        let aliases = self.column_aliases(name, query.cols.len())?;
        let alias = name.alias.as_ref().map_or(&name.name, |a| &a.name);
        let mut item = self.query_item(query, alias.clone(), &aliases);
        if let Some(rte) = item.names.first().map(|n| n.rte) {
            let rte = &mut self.level().rtes[rte];
            rte.relation = Some((view.schema, view.oid, Arc::from(view.name.as_str())));
            rte.aliased = name.alias.is_some();
        }
        item.outer.clear();
        Ok(item)
    }

    fn from_subselect(&mut self, sub: &ast::RangeSubselect) -> PgResult<FromItem> {
        let outer_lateral = std::mem::replace(&mut self.level().lateral_active, sub.lateral);
        let query = self
            .in_clause(Clause::FromSubselect, |b| b.nested(Level::new(), |b| b.select(&sub.subquery, true)));
        self.level().lateral_active = outer_lateral;
        let query = query?;
        match &sub.alias {
            Some(alias) => {
                check_alias_count(&alias.name, alias.columns.len(), query.cols.len())?;
                Ok(self.query_item(query, alias.name.clone(), &alias.columns))
            }
            None => {
                let mut item = self.query_item(query, Arc::from("unnamed_subquery"), &[]);
                item.names.iter_mut().for_each(|n| n.rel_visible = false);
                Ok(item)
            }
        }
    }

    /// A bound query as an item of FROM.
    pub fn query_item(&mut self, query: Query, alias: Arc<str>, aliases: &[Arc<str>]) -> FromItem {
        let mut columns = Vec::with_capacity(query.cols.len());
        for (i, column) in query.cols.iter().enumerate() {
            self.adopt_col(column.col.id);
            columns.push(RteColumn {
                name: aliases.get(i).unwrap_or(&column.name).clone(),
                expr: Scalar::column(column.col.id, column.col.ty),
                origin: column.origin,
            });
        }
        let produced: Vec<ColId> = query.ids();
        let outer = self.outer_columns(&query.rel, &produced);
        let rte = Rte {
            name: alias,
            aliased: true,
            relation: None,
            columns: Columns::List(columns),
            is_join: false,
            scalar_function: false,
            is_query: true,
            is_cte: false,
        };
        let mut item = self.single_item(query.rel, rte);
        item.outer = outer;
        item
    }

    /// Columns of the current level that a relation uses, apart from those it produces.
    pub fn outer_columns(&self, rel: &Rel, produced: &[ColId]) -> Vec<ColId> {
        let depth = self.level_depth();
        let mut outer = Vec::new();
        visit_rel(rel, &mut |e| {
            if let ScalarKind::Column(id) = e.kind
                && id != ColId::ELEMENT
                && self.meta(id).depth == depth
                && !produced.contains(&id)
                && !outer.contains(&id)
            {
                outer.push(id);
            }
        });
        outer
    }

    /// An item with one name.
    pub fn single_item(&mut self, rel: Rel, rte: Rte) -> FromItem {
        let level = self.level();
        level.rtes.push(rte);
        let rte = level.rtes.len() - 1;
        FromItem { rel, names: vec![NsItem::visible(rte)], outer: Vec::new() }
    }

    fn from_join(&mut self, join: &ast::JoinExpr) -> PgResult<FromItem> {
        let first = self.columns.len() as u32;
        let kind = match join.kind {
            ast::JoinType::Inner => JoinKind::Inner,
            ast::JoinType::Left => JoinKind::Left,
            ast::JoinType::Right => JoinKind::Right,
            ast::JoinType::Full => JoinKind::Full,
        };
        let nullable = |sides: [JoinKind; 2]| sides.contains(&kind).then_some(NoRecursion::OuterJoin);
        let no_left = nullable([JoinKind::Right, JoinKind::Full]);
        let left = self.without_recursion(no_left, |b| b.from_item(&join.left))?;
        // The right side may refer to the left one if it is LATERAL.
        let lateral_ok = matches!(kind, JoinKind::Inner | JoinKind::Left);
        let outside = self.level().namespace.len();
        let seen = left.names.iter().map(|n| NsItem { lateral_only: true, lateral_ok, ..*n });
        let seen: Vec<NsItem> = seen.collect();
        self.level().namespace.extend(seen);
        let no_right = nullable([JoinKind::Left, JoinKind::Full]);
        let right = self.without_recursion(no_right, |b| b.from_item(&join.right));
        self.level().namespace.truncate(outside);
        let right = right?;
        self.check_name_conflicts(&left.names, &right.names)?;

        let using =
            if join.natural { self.natural_columns(&left.names, &right.names) } else { join.using.clone() };
        let mut result = JoinNames { names: Vec::new(), conditions: Vec::new() };
        if using.is_empty() {
            result.names = left.names.iter().chain(&right.names).copied().collect();
        } else {
            result = self.join_using(join, kind, &left.names, &right.names, &using)?;
        }
        let on = match &join.on {
            Some(condition) => self.join_on(condition, &left.names, &right.names)?,
            None => Scalar::and(result.conditions),
        };
        let lateral = right.outer.iter().any(|id| id.0 >= first);
        let mut outer: Vec<ColId> = left.outer;
        outer.extend(right.outer.into_iter().filter(|id| id.0 < first));
        // Functions in the condition may use what is before the join: only from within a LATERAL context.
        visit(&on, &mut |e| {
            if let ScalarKind::Column(id) = e.kind
                && id != ColId::ELEMENT
                && id.0 < first
                && self.meta(id).depth == self.level_depth()
                && !outer.contains(&id)
            {
                outer.push(id);
            }
        });
        let rel = Rel::Join { kind, left: Box::new(left.rel), right: Box::new(right.rel), on, lateral };
        let names = match &join.alias {
            Some(alias) => self.alias_join(alias, &result.names)?,
            None => result.names,
        };
        Ok(FromItem { rel, names, outer })
    }

    /// The condition of ON sees the two sides, and nothing else of this FROM.
    fn join_on(&mut self, condition: &ast::Expr, left: &[NsItem], right: &[NsItem]) -> PgResult<Scalar> {
        let inside: Vec<NsItem> =
            left.iter().chain(right).map(|n| NsItem { lateral_only: false, ..*n }).collect();
        let outside = std::mem::replace(&mut self.level().namespace, inside);
        let bound = self.expr_in(condition, Clause::JoinOn);
        self.level().namespace = outside;
        self.coerce_to_boolean(bound?, "JOIN/ON")
    }

    /// The columns of some items that can be named without their relation: name, relation, index.
    fn visible_columns(&self, names: &[NsItem]) -> Vec<(Arc<str>, usize, usize)> {
        let level = self.levels.last().expect("FROM is bound within a level");
        let visible = names.iter().filter(|n| n.cols_visible);
        visible
            .flat_map(|n| level.rtes[n.rte].column_names().into_iter().map(move |(i, name)| (name, n.rte, i)))
            .collect()
    }

    /// The columns that both sides of a NATURAL join have, in the left one's order.
    fn natural_columns(&self, left: &[NsItem], right: &[NsItem]) -> Vec<Arc<str>> {
        let right = self.visible_columns(right);
        let left = self.visible_columns(left).into_iter().map(|(name, ..)| name);
        left.filter(|name| right.iter().any(|(other, ..)| other == name)).collect()
    }

    fn join_column(&self, name: &str, side: &str, names: &[NsItem]) -> PgResult<FoundColumn> {
        let level = self.levels.last().expect("FROM is bound within a level");
        let mut found = None;
        for item in names.iter().filter(|n| n.cols_visible) {
            let rte = &level.rtes[item.rte];
            let index = match rte.find_column(name) {
                ColumnMatch::None => continue,
                ColumnMatch::One(index) if found.is_none() => index,
                _ => {
                    let message =
                        format!("common column name \"{name}\" appears more than once in {side} table");
                    return Err(PgError::new(SqlState::AMBIGUOUS_COLUMN, message));
                }
            };
            found = Some(rte.column(index));
        }
        found.ok_or_else(|| {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            PgError::new(SqlState::UNDEFINED_COLUMN, message)
        })
    }

    /// USING and NATURAL: the merged columns come first, then the others of both sides.
    fn join_using(
        &mut self,
        join: &ast::JoinExpr,
        kind: JoinKind,
        left: &[NsItem],
        right: &[NsItem],
        using: &[Arc<str>],
    ) -> PgResult<JoinNames> {
        let mut merged: Vec<RteColumn> = Vec::with_capacity(using.len());
        let mut conditions = Vec::with_capacity(using.len());
        for (i, name) in using.iter().enumerate() {
            if using[..i].contains(name) {
                let message = format!("column name \"{name}\" appears more than once in USING clause");
                return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            let l = self.join_column(name, "left", left)?;
            let r = self.join_column(name, "right", right)?;
            self.mark_used(&l.expr);
            self.mark_used(&r.expr);
            let equal = self.make_op(&[ast::Name::from("=")], Some(l.expr.clone()), r.expr.clone(), None)?;
            conditions.push(self.coerce_to_boolean(equal, "JOIN/USING")?);
            merged.push(self.merge_columns(name, kind, l, r)?);
        }
        let mut columns = merged.clone();
        for (name, rte, index) in self.visible_columns(left).into_iter().chain(self.visible_columns(right)) {
            if !using.contains(&name) {
                let FoundColumn { expr, origin } = self.level().rtes[rte].column(index);
                columns.push(RteColumn { name, expr, origin });
            }
        }
        let mut names: Vec<NsItem> =
            left.iter().chain(right).map(|n| NsItem { cols_visible: false, ..*n }).collect();
        let unnamed = self.join_rte(Arc::from("unnamed_join"), columns);
        names.push(NsItem { rel_visible: false, ..NsItem::visible(unnamed) });
        if let Some(alias) = &join.using_alias {
            let rte = self.join_rte(alias.name.clone(), merged);
            names.push(NsItem { cols_visible: false, ..NsItem::visible(rte) });
        }
        Ok(JoinNames { names, conditions })
    }

    fn join_rte(&mut self, name: Arc<str>, columns: Vec<RteColumn>) -> usize {
        let rte = Rte {
            name,
            aliased: true,
            relation: None,
            columns: Columns::List(columns),
            is_join: true,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        };
        let level = self.level();
        level.rtes.push(rte);
        level.rtes.len() - 1
    }

    /// What a merged column stands for: the side that always has a value, or whichever has one in a FULL join.
    fn merge_columns(
        &mut self,
        name: &Arc<str>,
        kind: JoinKind,
        left: FoundColumn,
        right: FoundColumn,
    ) -> PgResult<RteColumn> {
        let (plain_left, plain_right) = (left.expr.ty.oid, right.expr.ty.oid);
        let (exprs, ty) = self.unify(vec![left.expr, right.expr], "JOIN/USING")?;
        let mut exprs = exprs.into_iter();
        let (Some(l), Some(r)) = (exprs.next(), exprs.next()) else {
            return Err(PgError::internal("a join has two sides"));
        };
        let (expr, origin) = match kind {
            JoinKind::Right => (r, right.origin),
            JoinKind::Full => {
                let kind = ScalarKind::Coalesce(vec![l, r]);
                (Scalar { kind, ty, pos: None }, (Oid(0), 0))
            }
            JoinKind::Inner if plain_left != ty.oid && plain_right == ty.oid => (r, right.origin),
            _ => (l, left.origin),
        };
        let origin = if matches!(expr.kind, ScalarKind::Column(_)) { origin } else { (Oid(0), 0) };
        Ok(RteColumn { name: name.clone(), expr, origin })
    }

    /// `(a JOIN b) AS alias`: one relation, which hides its sides.
    fn alias_join(&mut self, alias: &ast::Alias, names: &[NsItem]) -> PgResult<Vec<NsItem>> {
        let visible = self.visible_columns(names);
        if alias.columns.len() > visible.len() {
            let message = format!("column alias list for \"{}\" has too many entries", alias.name);
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut columns = Vec::with_capacity(visible.len());
        for (i, (name, rte, index)) in visible.into_iter().enumerate() {
            let FoundColumn { expr, origin } = self.level().rtes[rte].column(index);
            columns.push(RteColumn { name: alias.columns.get(i).cloned().unwrap_or(name), expr, origin });
        }
        let rte = self.join_rte(alias.name.clone(), columns);
        Ok(vec![NsItem::visible(rte)])
    }

    /// Fills in the columns of this level's scans: those that something refers to.
    pub fn finish_scans(&self, rel: &mut Rel) {
        match rel {
            Rel::Scan(scan) => {
                if let [(marker, 0)] = scan.cols[..] {
                    let first = marker.id.0;
                    let used = |attnum: i16| self.columns[(first + attnum as u32 - 1) as usize].used;
                    let col =
                        |attnum: i16, ty: Ty| (Col { id: ColId(first + attnum as u32 - 1), ty }, attnum);
                    scan.cols = scan
                        .table
                        .live_columns()
                        .filter(|(attnum, _)| used(*attnum))
                        .map(|(attnum, c)| col(attnum, column_ty(c)))
                        .collect();
                }
            }
            Rel::SystemScan { relation, cols } => {
                if let [(marker, 0)] = cols[..] {
                    let first = marker.id.0 as usize;
                    let columns =
                        crate::catalog::builtin::system_relation(*relation).map_or(&[][..], |r| &r.columns);
                    *cols = columns
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| self.columns[first + i].used)
                        .map(|(i, c)| {
                            let ty = Ty { oid: c.ty, typmod: c.typmod, collation: c.collation };
                            (Col { id: ColId((first + i) as u32), ty }, i as i16 + 1)
                        })
                        .collect();
                }
            }
            Rel::Join { left, right, .. } => {
                self.finish_scans(left);
                self.finish_scans(right);
            }
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::ProjectSet { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Window { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::LockRows { input, .. }
            | Rel::Distinct { input, .. } => self.finish_scans(input),
            Rel::Unit
            | Rel::Values { .. }
            | Rel::FunctionScan { .. }
            | Rel::SetOp { .. }
            | Rel::With { .. }
            | Rel::CteScan { .. }
            | Rel::Modify(_) => {}
        }
    }
}

/// What of a join may be named, and the conditions of its USING.
struct JoinNames {
    names: Vec<NsItem>,
    conditions: Vec<Scalar>,
}

/// An alias may name fewer columns than there are, but not more.
pub(super) fn check_alias_count(name: &str, given: usize, available: usize) -> PgResult<()> {
    if given <= available {
        return Ok(());
    }
    let message = format!("table \"{name}\" has {available} columns available but {given} columns specified");
    Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message))
}
