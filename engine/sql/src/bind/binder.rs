//! [`Binder`]: the state of binding one statement, and [`Level`]: that of one query within it.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::scope::{NamedRow, NsItem, Rte};
use super::window::NamedWindow;
use crate::catalog::{Dependency, TableDesc};
use crate::ir::{Aggregate, Col, ColId, Cte, CteId, Scalar, ScalarKind, TableFunction, Ty, WindowCall};
use crate::parse::ast;

/// Subqueries and expressions may nest this deep; beyond it the statement is refused as too complex.
const DEPTH_MAX: u32 = 400;

/// Which clause an expression stands in: it decides whether aggregates, window functions and set-returning
/// functions may occur, and how the error is worded if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    /// Not in a query's clause: DEFAULT, EXECUTE, ...; the text names it.
    Standalone(&'static str),
    /// JOIN ... ON.
    JoinOn,
    /// A sub-select in FROM.
    FromSubselect,
    /// A function in FROM.
    FromFunction,
    /// WHERE.
    Where,
    /// HAVING.
    Having,
    /// FILTER.
    Filter,
    /// PARTITION BY of a window.
    WindowPartition,
    /// ORDER BY of a window.
    WindowOrder,
    /// A frame's bound.
    WindowFrame,
    /// The select list.
    Target,
    /// RETURNING.
    Returning,
    /// VALUES.
    Values,
    /// VALUES of an INSERT with one row.
    InsertValues,
    /// SET of UPDATE.
    UpdateSource,
    /// GROUP BY.
    GroupBy,
    /// ORDER BY.
    OrderBy,
    /// DISTINCT ON.
    DistinctOn,
    /// LIMIT.
    Limit,
    /// OFFSET.
    Offset,
}

impl Clause {
    /// The clause's name in errors.
    pub fn name(self) -> &'static str {
        match self {
            Clause::Standalone(name) => name,
            Clause::JoinOn => "JOIN conditions",
            Clause::FromSubselect => "FROM clause of their own query level",
            Clause::FromFunction => "functions in FROM",
            Clause::Where => "WHERE",
            Clause::Having => "HAVING",
            Clause::Filter => "FILTER",
            Clause::WindowPartition => "window PARTITION BY",
            Clause::WindowOrder => "window ORDER BY",
            Clause::WindowFrame => "window RANGE",
            Clause::Target => "SELECT",
            Clause::Returning => "RETURNING",
            Clause::Values | Clause::InsertValues => "VALUES",
            Clause::UpdateSource => "UPDATE",
            Clause::GroupBy => "GROUP BY",
            Clause::OrderBy => "ORDER BY",
            Clause::DistinctOn => "DISTINCT ON",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
        }
    }
}

/// What produced a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColKind {
    /// Something in FROM.
    From,
    /// An aggregate, GROUPING() or group expression: a value of a whole group.
    Group,
    /// A window function.
    Window,
    /// A set-returning function of the select list.
    Set,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ColMeta {
    /// The level that sees it, counted from 1.
    pub depth: u32,
    pub kind: ColKind,
    /// Whether anything refers to it.
    pub used: bool,
}

/// A common table expression in scope.
#[derive(Clone, Debug)]
pub(super) struct CteEntry {
    pub name: Arc<str>,
    pub id: CteId,
    /// Name, type and origin of each column.
    pub cols: Vec<(Arc<str>, Ty, (Oid, i16))>,
    /// What it is at this moment.
    pub state: CteState,
    pub references: usize,
    /// How many of [`Binder::recursion`] are around it: those after them are within its recursive term.
    pub around: usize,
}

/// Where a recursive reference must not stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRecursion {
    /// A sub-select in an expression, or the WITH of a recursive query.
    Subquery,
    /// The side of an outer join that may be missing.
    OuterJoin,
    /// Either side of INTERSECT ALL.
    Intersect,
    /// The right side of EXCEPT, or either of EXCEPT ALL.
    Except,
}

/// How far a common table expression is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CteState {
    /// A query that is bound.
    Ready,
    /// A data-modifying statement without RETURNING.
    NoReturning,
    /// The non-recursive term of a recursive one is being bound: no reference yet.
    BaseTerm,
    /// Its recursive term is being bound: one reference is allowed.
    StepTerm,
    /// A later one of the same WITH, or itself without RECURSIVE.
    NotYet,
}

/// A set-returning function of a select list.
#[derive(Clone, Debug)]
pub(super) struct SetCall {
    pub function: TableFunction,
    /// Functions among its arguments must be expanded first: 0 if there are none.
    pub nesting: u32,
    /// Where it is called.
    pub pos: u32,
}

/// One query (or one write) with its FROM clause.
#[derive(Debug)]
pub(super) struct Level {
    /// All relations, visible or not, for names in errors.
    pub rtes: Vec<Rte>,
    /// What names may refer to at this moment.
    pub namespace: Vec<NsItem>,
    /// Sub-selects and functions in FROM that are bound right now may refer to earlier items.
    pub lateral_active: bool,
    /// Where the expression stands that is bound right now.
    pub clause: Clause,
    /// Common table expressions of this level.
    pub ctes: Vec<CteEntry>,
    /// The bound ones, in order.
    pub bound_ctes: Vec<Cte>,
    /// Aggregates of this level.
    pub aggregates: Vec<(Col, Aggregate)>,
    /// GROUPING() calls with their arguments.
    pub grouping: Vec<(Col, Vec<Scalar>)>,
    /// Window functions.
    pub window_calls: Vec<(Col, WindowCall)>,
    /// The WINDOW clause.
    pub named_windows: Vec<NamedWindow>,
    /// Set-returning functions of the select list.
    pub set_calls: Vec<SetCall>,
    /// Names of outer queries stay invisible: the body of a view.
    pub barrier: bool,
    /// Whether its FROM refers to a recursive query from within its recursive term.
    pub refers_to_itself: bool,
}

impl Level {
    pub fn new() -> Self {
        Level {
            rtes: Vec::new(),
            namespace: Vec::new(),
            lateral_active: false,
            clause: Clause::Target,
            ctes: Vec::new(),
            bound_ctes: Vec::new(),
            aggregates: Vec::new(),
            grouping: Vec::new(),
            window_calls: Vec::new(),
            named_windows: Vec::new(),
            set_calls: Vec::new(),
            barrier: false,
            refers_to_itself: false,
        }
    }
}

/// The state of binding one statement.
pub(super) struct Binder<'a> {
    pub cx: &'a BindContext<'a>,
    pub columns: Vec<ColMeta>,
    pub next_cte: u32,
    /// Types of `$1`, ...; `UNKNOWN` while nothing has said.
    pub params: Vec<Oid>,
    /// References to parameters that had no type when they were met, with their positions.
    pub untyped_params: Vec<(u16, u32)>,
    pub levels: Vec<Level>,
    pub dependencies: Vec<Dependency>,
    pub table_locks: Vec<(Oid, ObjectLockMode)>,
    pub writes: bool,
    /// The first locking clause, as it is called.
    pub row_lock: Option<&'static str>,
    /// Rows whose fields have names.
    pub named_rows: Vec<NamedRow>,
    /// Columns of type `record` whose fields are known.
    pub record_columns: Vec<(ColId, Vec<(String, Ty)>)>,
    /// What is around the place that is bound right now, and forbids recursive references.
    pub recursion: Vec<NoRecursion>,
    /// The views whose queries are bound right now, each within the one before it.
    pub views: Vec<Oid>,
    depth: u32,
}

impl<'a> Binder<'a> {
    pub fn new(cx: &'a BindContext<'a>) -> Self {
        let declared = |ty: &Oid| if ty.is_valid() { *ty } else { oid::UNKNOWN };
        Binder {
            cx,
            columns: Vec::with_capacity(16),
            next_cte: 0,
            params: cx.param_types.iter().map(declared).collect(),
            untyped_params: Vec::new(),
            levels: Vec::with_capacity(2),
            dependencies: Vec::new(),
            table_locks: Vec::new(),
            writes: false,
            row_lock: None,
            named_rows: Vec::new(),
            record_columns: Vec::new(),
            recursion: Vec::new(),
            views: Vec::new(),
            depth: 0,
        }
    }

    /// Binds a part of the same statement in another context.
    pub fn with_context<T>(
        &mut self,
        cx: &BindContext<'_>,
        bind: impl FnOnce(&mut Binder<'_>) -> PgResult<T>,
    ) -> PgResult<T> {
        let mut part = Binder {
            cx,
            columns: std::mem::take(&mut self.columns),
            next_cte: self.next_cte,
            params: std::mem::take(&mut self.params),
            untyped_params: std::mem::take(&mut self.untyped_params),
            levels: std::mem::take(&mut self.levels),
            dependencies: std::mem::take(&mut self.dependencies),
            table_locks: std::mem::take(&mut self.table_locks),
            writes: self.writes,
            row_lock: self.row_lock,
            named_rows: std::mem::take(&mut self.named_rows),
            record_columns: std::mem::take(&mut self.record_columns),
            recursion: std::mem::take(&mut self.recursion),
            views: std::mem::take(&mut self.views),
            depth: self.depth,
        };
        let bound = bind(&mut part);
        *self = Binder { cx: self.cx, ..part };
        bound
    }

    /// The level that is bound right now.
    pub fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("an expression is bound within a level")
    }

    /// The number of the level that is bound right now.
    pub fn level_depth(&self) -> u32 {
        u32::try_from(self.levels.len()).unwrap_or(u32::MAX)
    }

    /// Binds something within a level of its own.
    pub fn nested<T>(&mut self, level: Level, bind: impl FnOnce(&mut Self) -> PgResult<T>) -> PgResult<T> {
        self.guard_depth()?;
        self.levels.push(level);
        let result = bind(self);
        self.levels.pop();
        self.depth -= 1;
        result
    }

    /// Runs `bind` one step deeper, within the limit on nesting.
    pub fn deeper<T>(&mut self, bind: impl FnOnce(&mut Self) -> PgResult<T>) -> PgResult<T> {
        self.guard_depth()?;
        let result = bind(self);
        self.depth -= 1;
        result
    }

    fn guard_depth(&mut self) -> PgResult<()> {
        if self.depth >= DEPTH_MAX {
            return Err(PgError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint("Break the statement up, or nest its expressions less deeply."));
        }
        self.depth += 1;
        Ok(())
    }

    /// Binds what is to hold no recursive reference, if there is a reason.
    pub fn without_recursion<T>(
        &mut self,
        reason: Option<NoRecursion>,
        bind: impl FnOnce(&mut Self) -> PgResult<T>,
    ) -> PgResult<T> {
        let around = self.recursion.len();
        self.recursion.extend(reason);
        let result = bind(self);
        self.recursion.truncate(around);
        result
    }

    /// Runs `bind` with another clause set.
    pub fn in_clause<T>(
        &mut self,
        clause: Clause,
        bind: impl FnOnce(&mut Self) -> PgResult<T>,
    ) -> PgResult<T> {
        let before = std::mem::replace(&mut self.level().clause, clause);
        let result = bind(self);
        self.level().clause = before;
        result
    }

    /// A fresh column that the current level sees.
    pub fn new_col(&mut self, ty: Ty, kind: ColKind) -> Col {
        let id = ColId(u32::try_from(self.columns.len()).unwrap_or(u32::MAX));
        self.columns.push(ColMeta { depth: self.level_depth(), kind, used: true });
        Col { id, ty }
    }

    /// Reserves ids for `n` columns of a scan and returns the first; they are unused until someone refers to them.
    pub fn reserve_cols(&mut self, n: usize) -> u32 {
        let first = u32::try_from(self.columns.len()).unwrap_or(u32::MAX);
        let depth = self.level_depth();
        self.columns.extend(std::iter::repeat_n(ColMeta { depth, kind: ColKind::From, used: false }, n));
        first
    }

    /// What is known of a column.
    pub fn meta(&self, id: ColId) -> ColMeta {
        self.columns[id.0 as usize]
    }

    /// Marks a column as one that the current level sees from now on.
    pub fn adopt_col(&mut self, id: ColId) {
        let depth = self.level_depth();
        let meta = &mut self.columns[id.0 as usize];
        meta.depth = depth;
        meta.kind = ColKind::From;
    }

    /// Marks all columns that an expression uses.
    pub fn mark_used(&mut self, expr: &Scalar) {
        if let ScalarKind::Column(id) = &expr.kind
            && *id != ColId::ELEMENT
        {
            self.columns[id.0 as usize].used = true;
        }
        expr.for_each_child(&mut |child| self.mark_used(child));
    }

    /// Notes that the plan depends on a table, and which lock its execution takes. The strongest mode wins.
    pub fn note_table(&mut self, table: &TableDesc, mode: ObjectLockMode) {
        self.note_relation(table.oid, table.version);
        self.note_lock(table.oid, mode);
    }

    /// Notes that the plan's execution locks a relation.
    pub fn note_lock(&mut self, relation: Oid, mode: ObjectLockMode) {
        match self.table_locks.iter_mut().find(|(oid, _)| *oid == relation) {
            Some((_, held)) => *held = (*held).max(mode),
            None => self.table_locks.push((relation, mode)),
        }
    }

    /// Notes that the plan depends on a relation.
    pub fn note_relation(&mut self, relation: Oid, version: u64) {
        if !self.dependencies.iter().any(|d| d.relation == relation) {
            self.dependencies.push(Dependency { relation, version });
        }
    }

    /// The reference to `$n`, with the type it has so far.
    pub fn param_ref(&mut self, param: &ast::ParamRef) -> PgResult<Scalar> {
        let missing = || {
            PgError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${}", param.number))
                .at(param.pos)
        };
        let index = usize::try_from(param.number).ok().and_then(|n| n.checked_sub(1)).ok_or_else(missing)?;
        let number = u16::try_from(index).map_err(|_| missing())?;
        if self.params.len() <= index {
            self.params.resize(index + 1, oid::UNKNOWN);
        }
        let ty = Ty::new(self.params[index]);
        if ty.oid == oid::UNKNOWN {
            self.untyped_params.push((number, param.pos));
        }
        Ok(Scalar { kind: ScalarKind::Param(number), ty, pos: Some(param.pos) })
    }

    /// Gives a parameter without a type the one that its context demands.
    pub fn coerce_param(&mut self, number: u16, target: Oid, pos: Option<u32>) -> PgResult<Scalar> {
        self.untyped_params.retain(|(n, at)| *n != number || Some(*at) != pos);
        let known = &mut self.params[usize::from(number)];
        if *known == oid::UNKNOWN {
            *known = target;
        } else if *known != target {
            let known = *known;
            let mut error = PgError::new(
                SqlState::AMBIGUOUS_PARAMETER,
                format!("inconsistent types deduced for parameter ${}", u32::from(number) + 1),
            )
            .detail(format!(
                "{} versus {}",
                super::types::type_name(self.cx, known),
                super::types::type_name(self.cx, target)
            ));
            if let Some(pos) = pos {
                error = error.at(pos);
            }
            return Err(error);
        }
        Ok(Scalar { kind: ScalarKind::Param(number), ty: Ty::new(target), pos })
    }
}

/// An error at a position that may be missing.
pub(super) trait AtMaybe {
    /// Sets the position if there is one and none is set yet.
    fn at_maybe(self, pos: Option<u32>) -> Self;
}

impl AtMaybe for PgError {
    fn at_maybe(self, pos: Option<u32>) -> Self {
        match pos {
            Some(pos) => self.or_at(pos),
            None => self,
        }
    }
}
