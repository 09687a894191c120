//! Which column a name means: `parse_relation.c`'s namespaces.
//!
//! A level keeps every relation of its FROM clause ([`Rte`]) and, apart from it, a list of what may be named
//! right now ([`NsItem`]): within `a JOIN b ON ...` only `a` and `b`, within a LATERAL sub-select only what
//! stands before it, after a join with USING the merged columns instead of those of its sides. Unqualified names
//! are looked for level by level, innermost first; within a level they must be unique.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause};
use super::types::{self, column_ty};
use crate::catalog::TableDesc;
use crate::catalog::builtin::SystemRelation;
use crate::ir::{ColId, Scalar, ScalarKind, Ty};
use crate::parse::ast;

/// A relation of a FROM clause.
#[derive(Clone, Debug)]
pub(super) struct Rte {
    /// The alias, or the relation's own name.
    pub name: Arc<str>,
    /// Whether an alias was written: it hides the schema and the real name.
    pub aliased: bool,
    /// Schema, oid and real name of a relation.
    pub relation: Option<(Oid, Oid, Arc<str>)>,
    /// Its columns.
    pub columns: Columns,
    /// The join it stands for has an alias of its own, or it is a join without one: not looked into for hints.
    pub is_join: bool,
    /// A whole-row reference to a function with a scalar result means that result.
    pub scalar_function: bool,
    /// A sub-select or view: FOR UPDATE would have to reach into it.
    pub is_query: bool,
    /// A reference to a WITH query.
    pub is_cte: bool,
}

/// The columns of an [`Rte`].
#[derive(Clone, Debug)]
pub(super) enum Columns {
    /// A table's: column `n` has the id `first + n - 1`, and names from the alias come first.
    Table { table: Arc<TableDesc>, first: u32, aliases: Vec<Arc<str>> },
    /// A system relation's, likewise.
    System { relation: &'static SystemRelation, first: u32, aliases: Vec<Arc<str>> },
    /// Anything else.
    List(Vec<RteColumn>),
}

/// A column of a relation that is not a table.
#[derive(Clone, Debug)]
pub(super) struct RteColumn {
    pub name: Arc<str>,
    /// A column, or what a merged column of a join stands for.
    pub expr: Scalar,
    /// Table and attribute that it comes from, or zeros.
    pub origin: (Oid, i16),
}

/// What may be named at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct NsItem {
    /// Index into [`super::binder::Level::rtes`].
    pub rte: usize,
    /// By its relation's name.
    pub rel_visible: bool,
    /// By its columns' names alone.
    pub cols_visible: bool,
    /// Only from within LATERAL items.
    pub lateral_only: bool,
    /// ... and not even from there: the join is not INNER or LEFT.
    pub lateral_ok: bool,
}

impl NsItem {
    /// An item that is visible in full.
    pub fn visible(rte: usize) -> Self {
        NsItem { rte, rel_visible: true, cols_visible: true, lateral_only: false, lateral_ok: true }
    }
}

/// A column found by name.
#[derive(Clone, Debug)]
pub(super) struct FoundColumn {
    pub expr: Scalar,
    pub origin: (Oid, i16),
}

impl Rte {
    /// The column of a name.
    pub fn find_column(&self, name: &str) -> ColumnMatch {
        let mut found = ColumnMatch::None;
        let mut meet = |index: usize| {
            found = match found {
                ColumnMatch::None => ColumnMatch::One(index),
                _ => ColumnMatch::Many,
            };
        };
        match &self.columns {
            Columns::Table { table, aliases, .. } if aliases.is_empty() => {
                // A table's own names are unique.
                if let Some(index) = table.columns.iter().position(|c| !c.dropped && c.name == name) {
                    meet(index);
                }
            }
            Columns::System { relation, aliases, .. } if aliases.is_empty() => {
                if let Some(index) = relation.columns.iter().position(|c| c.name == name) {
                    meet(index);
                }
            }
            _ => {
                for (index, column) in self.column_names() {
                    if *column == *name {
                        meet(index);
                    }
                }
            }
        }
        found
    }

    /// The live columns: an index for [`Rte::column`] and the name of each.
    pub fn column_names(&self) -> Vec<(usize, Arc<str>)> {
        let named = |aliases: &[Arc<str>], position: usize, name: &str| {
            aliases.get(position).cloned().unwrap_or_else(|| Arc::from(name))
        };
        match &self.columns {
            Columns::Table { table, aliases, .. } => {
                let live = table.live_columns().enumerate();
                live.map(|(i, (attnum, c))| (attnum as usize - 1, named(aliases, i, &c.name))).collect()
            }
            Columns::System { relation, aliases, .. } => {
                relation.columns.iter().enumerate().map(|(i, c)| (i, named(aliases, i, c.name))).collect()
            }
            Columns::List(list) => list.iter().enumerate().map(|(i, c)| (i, c.name.clone())).collect(),
        }
    }

    /// The column of an index.
    pub fn column(&self, index: usize) -> FoundColumn {
        match &self.columns {
            Columns::Table { table, first, .. } => {
                let ty = column_ty(&table.columns[index]);
                let expr = Scalar::column(ColId(first + index as u32), ty);
                FoundColumn { expr, origin: (table.oid, index as i16 + 1) }
            }
            Columns::System { relation, first, .. } => {
                let column = &relation.columns[index];
                let ty = Ty { oid: column.ty, typmod: column.typmod, collation: column.collation };
                let expr = Scalar::column(ColId(first + index as u32), ty);
                FoundColumn { expr, origin: (relation.oid, index as i16 + 1) }
            }
            Columns::List(list) => FoundColumn { expr: list[index].expr.clone(), origin: list[index].origin },
        }
    }

    /// The type of a whole-row reference.
    fn row_type(&self) -> Oid {
        match &self.columns {
            Columns::Table { table, .. } => table.row_type,
            Columns::System { relation, .. } => relation.rowtype,
            Columns::List(_) => oid::RECORD,
        }
    }
}

/// How many columns of a relation have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnMatch {
    None,
    One(usize),
    Many,
}

impl Binder<'_> {
    /// What a column reference in an expression means.
    pub fn column_ref(&mut self, reference: &ast::ColumnRef) -> PgResult<FoundColumn> {
        let pos = reference.pos;
        if let Clause::Standalone(clause) = self.level().clause
            && self.level().rtes.is_empty()
        {
            // DEFAULT and its like know no columns at all.
            let message = format!("cannot use column reference in {}", clause.trim_end_matches('s'));
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(pos));
        }
        if reference.star {
            return self.whole_row_ref(reference);
        }
        match &reference.names[..] {
            [name] => {
                if let Some(found) = self.unqualified(name, pos)? {
                    return Ok(found);
                }
                // Not a column: perhaps a relation, as a whole row.
                if let Some((depth, rte)) = self.find_rte(None, name, pos)? {
                    return Ok(self.whole_row(depth, rte, pos));
                }
                Err(self.missing_column(None, name, pos))
            }
            [relation, name] => self.qualified_ref(None, relation, name, pos),
            [schema, relation, name] => self.qualified_ref(Some(schema), relation, name, pos),
            [database, schema, relation, name] => {
                let whole = format!("{database}.{schema}.{relation}.{name}");
                if **database != *self.cx.database {
                    let message = format!("cross-database references are not implemented: {whole}");
                    return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(pos));
                }
                self.qualified_ref(Some(schema), relation, name, pos)
            }
            _ => {
                let message =
                    format!("improper qualified name (too many dotted names): {}", reference.names.join("."));
                Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(pos))
            }
        }
    }

    fn whole_row_ref(&mut self, reference: &ast::ColumnRef) -> PgResult<FoundColumn> {
        let pos = reference.pos;
        let (schema, relation) = match &reference.names[..] {
            [relation] => (None, relation),
            [schema, relation] => (Some(schema), relation),
            _ => {
                let message = "row expansion via \"*\" is not supported here";
                return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(pos));
            }
        };
        match self.find_rte(schema.map(|s| &**s), relation, pos)? {
            Some((depth, rte)) => Ok(self.whole_row(depth, rte, pos)),
            None => Err(self.missing_relation(schema.map(|s| &**s), relation, pos)),
        }
    }

    fn qualified_ref(
        &mut self,
        schema: Option<&Arc<str>>,
        relation: &Arc<str>,
        name: &Arc<str>,
        pos: u32,
    ) -> PgResult<FoundColumn> {
        let schema = schema.map(|s| &**s);
        let Some((depth, rte)) = self.find_rte(schema, relation, pos)? else {
            return Err(self.missing_relation(schema, relation, pos));
        };
        match self.column_of(depth, rte, name, pos)? {
            Some(found) => Ok(found),
            // `row.f` may mean `f(row)`.
            None => match self.call_on_row(depth, rte, name, pos)? {
                Some(expr) => Ok(FoundColumn { expr, origin: (Oid(0), 0) }),
                None => Err(self.missing_column(Some(relation), name, pos)),
            },
        }
    }

    /// A column of one relation by its name; system columns included.
    pub fn column_of(
        &mut self,
        depth: usize,
        rte: usize,
        name: &str,
        pos: u32,
    ) -> PgResult<Option<FoundColumn>> {
        let entry = &self.levels[depth].rtes[rte];
        match entry.find_column(name) {
            ColumnMatch::One(index) => {
                let found = entry.column(index);
                Ok(Some(self.refer(found, pos)))
            }
            ColumnMatch::Many => Err(ambiguous(name, pos)),
            ColumnMatch::None => self.system_column(depth, rte, name, pos),
        }
    }

    /// `tableoid` of a table; the other system columns say nothing here, for rows have no place or versions to show.
    fn system_column(
        &mut self,
        depth: usize,
        rte: usize,
        name: &str,
        pos: u32,
    ) -> PgResult<Option<FoundColumn>> {
        let entry = &self.levels[depth].rtes[rte];
        let relation = match &entry.columns {
            Columns::Table { table, .. } => table.oid,
            Columns::System { relation, .. } => relation.oid,
            Columns::List(_) => return Ok(None),
        };
        match name {
            "tableoid" => {
                let value = Scalar::constant(shardforge_types::Datum::Oid(relation.0), Ty::new(oid::OID));
                Ok(Some(FoundColumn { expr: Scalar { pos: Some(pos), ..value }, origin: (relation, -6) }))
            }
            "ctid" | "xmin" | "xmax" | "cmin" | "cmax" => {
                Err(PgError::not_supported(format!("system column \"{name}\" is not supported"))
                    .hint("Rows are addressed by their primary key.")
                    .at(pos))
            }
            _ => Ok(None),
        }
    }

    /// Notes the use of a column and gives it the reference's position.
    fn refer(&mut self, found: FoundColumn, pos: u32) -> FoundColumn {
        self.mark_used(&found.expr);
        FoundColumn { expr: Scalar { pos: Some(pos), ..found.expr }, ..found }
    }

    /// The column that an unqualified name means, innermost level first.
    pub fn unqualified(&mut self, name: &str, pos: u32) -> PgResult<Option<FoundColumn>> {
        for depth in (0..self.levels.len()).rev() {
            let level = &self.levels[depth];
            let mut found: Option<(NsItem, usize)> = None;
            for item in &level.namespace {
                if !item.cols_visible || (item.lateral_only && !self.lateral_active_at(depth)) {
                    continue;
                }
                match level.rtes[item.rte].find_column(name) {
                    ColumnMatch::None => {}
                    ColumnMatch::One(_) if found.is_some() => return Err(ambiguous(name, pos)),
                    ColumnMatch::One(index) => found = Some((*item, index)),
                    ColumnMatch::Many => return Err(ambiguous(name, pos)),
                }
            }
            if let Some((item, index)) = found {
                self.check_lateral(depth, item, pos)?;
                let found = self.levels[depth].rtes[item.rte].column(index);
                return Ok(Some(self.refer(found, pos)));
            }
            if let Some(found) = self.unqualified_system_column(depth, name, pos)? {
                return Ok(Some(found));
            }
            if self.levels[depth].barrier {
                break;
            }
        }
        Ok(None)
    }

    fn unqualified_system_column(
        &mut self,
        depth: usize,
        name: &str,
        pos: u32,
    ) -> PgResult<Option<FoundColumn>> {
        if !matches!(name, "tableoid" | "ctid" | "xmin" | "xmax" | "cmin" | "cmax") {
            return Ok(None);
        }
        let visible: Vec<usize> = {
            let level = &self.levels[depth];
            let is_table = |item: &&NsItem| !matches!(level.rtes[item.rte].columns, Columns::List(_));
            level.namespace.iter().filter(|i| i.cols_visible).filter(is_table).map(|i| i.rte).collect()
        };
        match visible[..] {
            [] => Ok(None),
            [rte] => self.system_column(depth, rte, name, pos),
            _ => Err(ambiguous(name, pos)),
        }
    }

    /// LATERAL items see their own level's namespace; so do the levels inside of them.
    fn lateral_active_at(&self, depth: usize) -> bool {
        self.levels[depth].lateral_active
    }

    fn check_lateral(&self, depth: usize, item: NsItem, pos: u32) -> PgResult<()> {
        if !item.lateral_only || item.lateral_ok {
            return Ok(());
        }
        let name = &self.levels[depth].rtes[item.rte].name;
        let message = format!("invalid reference to FROM-clause entry for table \"{name}\"");
        Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
            .detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference.")
            .at(pos))
    }

    /// The relation of a FROM clause that a name means: its level and its place there.
    pub fn find_rte(&self, schema: Option<&str>, name: &str, pos: u32) -> PgResult<Option<(usize, usize)>> {
        let schema = match schema {
            Some(schema) => match super::relation::find_schema(self.cx, schema) {
                Some(schema) => Some(schema),
                None => return Ok(None),
            },
            None => None,
        };
        for depth in (0..self.levels.len()).rev() {
            let level = &self.levels[depth];
            let mut found: Option<NsItem> = None;
            for item in &level.namespace {
                if !item.rel_visible || (item.lateral_only && !self.lateral_active_at(depth)) {
                    continue;
                }
                let rte = &level.rtes[item.rte];
                let matches = match schema {
                    None => *rte.name == *name,
                    Some(schema) => {
                        !rte.aliased
                            && rte.relation.as_ref().is_some_and(|(s, _, n)| *s == schema && **n == *name)
                    }
                };
                if !matches {
                    continue;
                }
                if found.is_some() {
                    let message = format!("table reference \"{name}\" is ambiguous");
                    return Err(PgError::new(SqlState::AMBIGUOUS_ALIAS, message).at(pos));
                }
                found = Some(*item);
            }
            if let Some(item) = found {
                self.check_lateral(depth, item, pos)?;
                return Ok(Some((depth, item.rte)));
            }
            if level.barrier {
                break;
            }
        }
        Ok(None)
    }

    /// A relation's row as one value.
    pub fn whole_row(&mut self, depth: usize, rte: usize, pos: u32) -> FoundColumn {
        let entry = &self.levels[depth].rtes[rte];
        let indexes: Vec<usize> = entry.column_names().into_iter().map(|(index, _)| index).collect();
        if entry.scalar_function && indexes.len() == 1 {
            let found = entry.column(0);
            return self.refer(found, pos);
        }
        let ty = entry.row_type();
        let names: Vec<Arc<str>> = entry.column_names().into_iter().map(|(_, name)| name).collect();
        let fields: Vec<Scalar> = indexes.into_iter().map(|index| entry.column(index).expr).collect();
        if ty == oid::RECORD {
            self.name_row_fields(&fields, names);
        }
        let expr = Scalar { kind: ScalarKind::Row(fields), ty: Ty::new(ty), pos: Some(pos) };
        self.mark_used(&expr);
        FoundColumn { expr, origin: (Oid(0), 0) }
    }

    /// What the columns of a relation are called, and what they are: for `*`.
    pub fn expand_rte(&mut self, depth: usize, rte: usize, pos: u32) -> Vec<(Arc<str>, FoundColumn)> {
        let entry = &self.levels[depth].rtes[rte];
        let columns: Vec<_> =
            entry.column_names().into_iter().map(|(index, name)| (name, entry.column(index))).collect();
        columns.into_iter().map(|(name, found)| (name, self.refer(found, pos))).collect()
    }

    /// Two items of one FROM clause may not have the same name (unless they are different tables without alias).
    pub fn check_name_conflicts(&self, left: &[NsItem], right: &[NsItem]) -> PgResult<()> {
        let rtes = &self.levels.last().expect("FROM is bound within a level").rtes;
        for a in left.iter().filter(|i| i.rel_visible) {
            for b in right.iter().filter(|i| i.rel_visible) {
                let (x, y) = (&rtes[a.rte], &rtes[b.rte]);
                if x.name != y.name {
                    continue;
                }
                let different_tables = !x.aliased
                    && !y.aliased
                    && matches!((&x.relation, &y.relation), (Some((_, a, _)), Some((_, b, _))) if a != b);
                if !different_tables {
                    let message = format!("table name \"{}\" specified more than once", y.name);
                    return Err(PgError::new(SqlState::DUPLICATE_ALIAS, message));
                }
            }
        }
        Ok(())
    }

    /// The relation and column that an id stands for, for messages.
    pub fn column_name(&self, id: ColId) -> Option<(Arc<str>, Arc<str>)> {
        self.find_column_id(id, |rte, _, name| (rte.name.clone(), name))
    }

    /// Table and attribute of an id, or zeros.
    pub fn column_origin(&self, id: ColId) -> (Oid, i16) {
        self.find_column_id(id, |rte, index, _| rte.column(index).origin).unwrap_or((Oid(0), 0))
    }

    fn find_column_id<T>(&self, id: ColId, found: impl Fn(&Rte, usize, Arc<str>) -> T) -> Option<T> {
        let same = |expr: &Scalar| matches!(expr.kind, ScalarKind::Column(c) if c == id);
        for level in self.levels.iter().rev() {
            for rte in level.rtes.iter().filter(|r| !r.is_join) {
                for (index, name) in rte.column_names() {
                    if same(&rte.column(index).expr) {
                        return Some(found(rte, index, name));
                    }
                }
            }
        }
        None
    }
}

fn ambiguous(name: &str, pos: u32) -> PgError {
    PgError::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous")).at(pos)
}

/// The names and types of a row-typed expression's fields.
pub(super) fn row_fields(binder: &Binder<'_>, expr: &Scalar) -> Option<Vec<(String, Ty)>> {
    if let Some(fields) = types::composite_fields(binder.cx, expr.ty.oid) {
        return Some(fields);
    }
    match &expr.kind {
        ScalarKind::Row(fields) => {
            let names = binder.named_rows.iter().find(|row| row.is(fields)).map(|row| &row.names);
            let name = |i: usize| names.map_or_else(|| format!("f{}", i + 1), |names| names[i].to_string());
            Some(fields.iter().enumerate().map(|(i, f)| (name(i), f.ty)).collect())
        }
        ScalarKind::Column(id) => {
            let (_, fields) = binder.record_columns.iter().find(|(column, _)| column == id)?;
            Some(fields.clone())
        }
        ScalarKind::Relabel(arg) if arg.ty.oid == oid::RECORD => row_fields(binder, arg),
        ScalarKind::Call(call) => {
            let proc = crate::catalog::builtin::builtin().proc_by_oid(call.func)?;
            let outputs = proc.has_outputs().then(|| proc.output_columns())?;
            let field = |p: crate::catalog::builtin::ProcParam| (p.name, Ty::new(p.ty));
            (!outputs.iter().any(|p| super::coerce::is_polymorphic(p.ty)))
                .then(|| outputs.into_iter().map(field).collect())
        }
        _ => None,
    }
}

/// A row made of columns whose fields have names of their own: of a function's result, or of a whole relation.
#[derive(Clone, Debug)]
pub(super) struct NamedRow {
    pub fields: Vec<ColId>,
    pub names: Vec<Arc<str>>,
}

impl NamedRow {
    /// Whether a row constructor is this row.
    fn is(&self, fields: &[Scalar]) -> bool {
        let same = |(id, field): (&ColId, &Scalar)| matches!(field.kind, ScalarKind::Column(c) if c == *id);
        self.fields.len() == fields.len() && self.fields.iter().zip(fields).all(same)
    }
}

impl Binder<'_> {
    /// Remembers the names of a row's fields, if it is made of columns.
    pub fn name_row_fields(&mut self, fields: &[Scalar], names: Vec<Arc<str>>) {
        let ids: Option<Vec<ColId>> = fields
            .iter()
            .map(|f| match f.kind {
                ScalarKind::Column(id) => Some(id),
                _ => None,
            })
            .collect();
        if let Some(fields) = ids
            && !self.named_rows.iter().any(|row| row.fields == fields)
        {
            self.named_rows.push(NamedRow { fields, names });
        }
    }

    /// Remembers the fields of a column that holds records.
    pub fn note_record_column(&mut self, id: ColId, expr: &Scalar) {
        if expr.ty.oid == oid::RECORD
            && let Some(fields) = row_fields(self, expr)
            && !matches!(expr.kind, ScalarKind::Column(c) if c == id)
        {
            self.record_columns.push((id, fields));
        }
    }
}
