//! FOR UPDATE and its kin: which rows a locking clause means (`transformLockingClause`), and where among the
//! operators they are locked.
//!
//! The tables of the query's own FROM clause are locked above its ORDER BY and below its LIMIT. A sub-select or a
//! view is reached into: one that only filters, joins and computes has its tables locked with the others; one that
//! sorts or limits locks them itself, in the same place. What does not stand for rows of a table (functions, VALUES,
//! WITH queries, catalogs) is left alone, unless the clause names it.

use hashbrown::HashSet;
use shardforge_kv::{LockStrength, ObjectLockMode};
use shardforge_types::{PgError, PgResult, SqlState, oid};

use super::binder::{Binder, ColKind};
use super::scope::{Columns, Rte};
use super::select::strength_name;
use crate::catalog::builtin::builtin;
use crate::ir::{ColId, JoinKind, Rel, RowLock, RowWait, Scalar, ScalarKind, Scan, Ty};
use crate::parse::ast;

/// A locking clause, or one of its names.
struct Clause<'a> {
    name: &'static str,
    strength: LockStrength,
    wait: RowWait,
    /// Items of FROM that it means, by a column of each; all of them if absent.
    items: Option<&'a HashSet<ColId>>,
}

impl Binder<'_> {
    /// The row locks of a query over a FROM clause; `predicate` is its WHERE.
    pub fn locking(
        &mut self,
        stmt: &ast::SelectStmt,
        rel: &mut Rel,
        predicate: Option<&Scalar>,
    ) -> PgResult<Vec<RowLock>> {
        let mut locks: Vec<RowLock> = Vec::new();
        if stmt.locking.is_empty() {
            return Ok(locks);
        }
        let mut strict = HashSet::new();
        if let Some(predicate) = predicate {
            strict_columns(predicate, &mut strict);
        }
        reduce_outer_joins(rel, &strict);
        for clause in &stmt.locking {
            let items = self.locked_items(clause)?;
            let clause = Clause {
                name: strength_name(clause.strength),
                strength: match clause.strength {
                    ast::LockStrength::KeyShare => LockStrength::KeyShare,
                    ast::LockStrength::Share => LockStrength::Share,
                    ast::LockStrength::NoKeyUpdate => LockStrength::NoKeyUpdate,
                    ast::LockStrength::Update => LockStrength::Update,
                },
                wait: match clause.wait {
                    ast::LockWait::Block => RowWait::Wait,
                    ast::LockWait::Skip => RowWait::SkipLocked,
                    ast::LockWait::Error => RowWait::NoWait,
                },
                items: items.as_ref(),
            };
            self.lock_item(rel, &clause, false, &mut locks)?;
            self.writes = true;
            self.row_lock.get_or_insert(clause.name);
        }
        Ok(locks)
    }

    /// A column of each item that OF names; `None` without OF.
    fn locked_items(&mut self, clause: &ast::LockingClause) -> PgResult<Option<HashSet<ColId>>> {
        if clause.relations.is_empty() {
            return Ok(None);
        }
        let name = strength_name(clause.strength);
        let level = self.levels.last().expect("a locking clause belongs to a level");
        let mut items = HashSet::new();
        for relation in &clause.relations {
            if relation.schema.is_some() || relation.catalog.is_some() {
                let message = format!("{name} must specify unqualified relation names");
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(relation.pos));
            }
            let rte = level.rtes.iter().find(|r| *r.name == *relation.name).ok_or_else(|| {
                let message =
                    format!("relation \"{}\" in {name} clause not found in FROM clause", relation.name);
                PgError::new(SqlState::UNDEFINED_TABLE, message).at(relation.pos)
            })?;
            match lockable(rte) {
                Ok(column) => items.extend(column),
                Err(what) => {
                    let message = format!("{name} cannot be applied to {what}");
                    return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(relation.pos));
                }
            }
        }
        Ok(Some(items))
    }

    /// Adds the locks of a FROM clause, or of a part of one. `nullable`: an outer join may put NULLs in its place.
    fn lock_item(
        &mut self,
        rel: &mut Rel,
        clause: &Clause<'_>,
        nullable: bool,
        locks: &mut Vec<RowLock>,
    ) -> PgResult<()> {
        if let Rel::Join { kind, left, right, .. } = rel {
            let (left_nullable, right_nullable) = match kind {
                JoinKind::Inner | JoinKind::Semi | JoinKind::Anti => (false, false),
                JoinKind::Left => (false, true),
                JoinKind::Right => (true, false),
                JoinKind::Full => (true, true),
            };
            self.lock_item(left, clause, nullable || left_nullable, locks)?;
            return self.lock_item(right, clause, nullable || right_nullable, locks);
        }
        if clause.items.is_some_and(|items| !items.iter().any(|id| produces(rel, *id))) {
            return Ok(());
        }
        let is_rows = matches!(
            rel,
            Rel::Scan(_) | Rel::Project { .. } | Rel::Filter { .. } | Rel::Sort { .. } | Rel::Limit { .. }
        );
        if nullable && is_rows {
            let message = format!("{} cannot be applied to the nullable side of an outer join", clause.name);
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        self.lock_query(rel, clause, locks)
    }

    /// Adds the locks of a table, or of a sub-select that only filters, joins and computes. One that does more locks
    /// its rows itself.
    fn lock_query(&mut self, rel: &mut Rel, clause: &Clause<'_>, locks: &mut Vec<RowLock>) -> PgResult<()> {
        let refused = |what: &str| {
            let message = format!("{} is not allowed with {what}", clause.name);
            Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
        };
        let within = Clause { items: None, ..*clause };
        match rel {
            Rel::Scan(scan) => {
                self.lock_scan(scan, clause, locks);
                Ok(())
            }
            Rel::Filter { input, .. } | Rel::Project { input, .. } => self.lock_query(input, clause, locks),
            Rel::Join { .. } => self.lock_item(rel, &within, false, locks),
            Rel::LockRows { input, locks } => self.lock_query(input, &within, locks),
            Rel::Sort { .. } => {
                let Rel::Sort { input, .. } = rel else { return Ok(()) };
                let mut own = Vec::new();
                self.lock_query(input, &within, &mut own)?;
                lock_here(rel, own);
                Ok(())
            }
            Rel::Limit { input, .. } | Rel::With { body: input, .. } => {
                let mut own = Vec::new();
                self.lock_query(input, &within, &mut own)?;
                lock_here(input, own);
                Ok(())
            }
            Rel::Aggregate { groups, .. } if groups.is_empty() => refused("aggregate functions"),
            Rel::Aggregate { .. } => refused("GROUP BY clause"),
            Rel::Distinct { .. } => refused("DISTINCT clause"),
            Rel::SetOp { .. } => refused("UNION/INTERSECT/EXCEPT"),
            Rel::Window { .. } => refused("window functions"),
            Rel::ProjectSet { .. } => refused("set-returning functions in the target list"),
            Rel::Unit
            | Rel::Values { .. }
            | Rel::SystemScan { .. }
            | Rel::FunctionScan { .. }
            | Rel::CteScan { .. }
            | Rel::Modify(_) => Ok(()),
        }
    }

    fn lock_scan(&mut self, scan: &mut Scan, clause: &Clause<'_>, locks: &mut Vec<RowLock>) {
        let key = scan.row_key.unwrap_or_else(|| self.new_col(Ty::new(oid::BYTEA), ColKind::From));
        scan.row_key = Some(key);
        let table = scan.table.clone();
        self.note_table(&table, ObjectLockMode::RowShare);
        let Clause { strength, wait, .. } = *clause;
        match locks.iter_mut().find(|lock| lock.row_key == key.id) {
            // Several clauses for one table: the strongest lock, and NOWAIT over SKIP LOCKED over waiting.
            Some(lock) => {
                lock.strength = lock.strength.max(strength);
                lock.wait = match (lock.wait, wait) {
                    (RowWait::NoWait, _) | (_, RowWait::NoWait) => RowWait::NoWait,
                    (RowWait::SkipLocked, _) | (_, RowWait::SkipLocked) => RowWait::SkipLocked,
                    _ => RowWait::Wait,
                };
            }
            None => locks.push(RowLock { table, row_key: key.id, strength, wait, ahead: false }),
        }
    }
}

/// A column of an item of FROM (of one that has any), or what it is that cannot be locked.
fn lockable(rte: &Rte) -> Result<Option<ColId>, &'static str> {
    match &rte.columns {
        Columns::Table { first, .. } | Columns::System { first, .. } => Ok(Some(ColId(*first))),
        Columns::List(columns) if rte.is_query => {
            Ok(columns.iter().find_map(|column| match column.expr.kind {
                ScalarKind::Column(id) => Some(id),
                _ => None,
            }))
        }
        Columns::List(_) if rte.is_join => Err("a join"),
        Columns::List(_) if rte.is_cte => Err("a WITH query"),
        Columns::List(_) => Err("a function"),
    }
}

/// Whether a relation of a FROM clause yields a column. Its scans may still have their marker instead of columns.
fn produces(rel: &Rel, id: ColId) -> bool {
    match rel {
        Rel::Scan(Scan { cols, table, .. }) => match cols[..] {
            [(marker, 0)] => (marker.id.0..marker.id.0 + table.columns.len() as u32).contains(&id.0),
            _ => cols.iter().any(|(col, _)| col.id == id),
        },
        Rel::SystemScan { cols, .. } => cols.iter().any(|(col, _)| col.id == id),
        Rel::Join { left, right, .. } => produces(left, id) || produces(right, id),
        other => other.columns().iter().any(|col| col.id == id),
    }
}

/// Locks the rows of a relation as they come out of it.
fn lock_here(rel: &mut Rel, locks: Vec<RowLock>) {
    if !locks.is_empty() {
        let input = Box::new(std::mem::replace(rel, Rel::Unit));
        *rel = Rel::LockRows { input, locks };
    }
}

/// Columns that are not NULL where a condition is true.
fn strict_columns(condition: &Scalar, found: &mut HashSet<ColId>) {
    match &condition.kind {
        ScalarKind::And(parts) => parts.iter().for_each(|part| strict_columns(part, found)),
        ScalarKind::Column(id) => {
            found.insert(*id);
        }
        ScalarKind::Call(call) if builtin().proc_by_oid(call.func).is_some_and(|proc| proc.strict) => {
            call.args.iter().for_each(|arg| strict_columns(arg, found));
        }
        ScalarKind::IsNull { arg, negated: true } | ScalarKind::Relabel(arg) => strict_columns(arg, found),
        _ => {}
    }
}

/// An outer join whose nullable side must not be NULL after all is an inner one (`reduce_outer_joins`).
fn reduce_outer_joins(rel: &mut Rel, strict: &HashSet<ColId>) {
    let Rel::Join { kind, left, right, on, .. } = rel else { return };
    let needs = |side: &Rel| strict.iter().any(|id| produces(side, *id));
    *kind = match (*kind, needs(left), needs(right)) {
        (JoinKind::Left, _, true) | (JoinKind::Right, true, _) | (JoinKind::Full, true, true) => {
            JoinKind::Inner
        }
        (JoinKind::Full, true, false) => JoinKind::Left,
        (JoinKind::Full, false, true) => JoinKind::Right,
        (kind, ..) => kind,
    };
    let mut below = strict.clone();
    if *kind == JoinKind::Inner {
        strict_columns(on, &mut below);
    }
    reduce_outer_joins(left, &below);
    reduce_outer_joins(right, &below);
}
