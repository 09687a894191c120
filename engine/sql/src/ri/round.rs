//! When events are looked at, and in which order.

use shardforge_types::{Oid, PgError, PgResult};

use super::action::{change_rows, still_referenced};
use super::check::unsatisfied;
use super::relationship::{Lock, Relationship};
use super::unique::duplicates;
use crate::catalog::ReferentialAction;
use crate::plan::ExecContext;
use crate::session::error::from_kv;
use crate::storage::{RowChange, RowEvent};

/// Past so many events in a statement, those that can be looked at already are.
const EVENTS_KEPT: usize = 16_384;

/// Looks at what a statement has written, once it has written all: checks what is to be checked now, puts off what is
/// deferred, and does what foreign keys do to the rows that reference others, which may lead to more events.
///
/// # Errors
/// 23503, 23001; what writing rows raises.
pub async fn after_statement(cx: &ExecContext) -> PgResult<()> {
    // Boxed, because most statements have no events.
    if cx.after.is_empty() { Ok(()) } else { Box::pin(rounds(cx)).await }
}

async fn rounds(cx: &ExecContext) -> PgResult<()> {
    loop {
        let events = cx.after.take();
        if events.is_empty() {
            return Ok(());
        }
        let now = put_off(cx, events)?;
        let round = Round::of(now.iter());
        let failed = round.run(cx).await?;
        if let Some(first) = failed.into_iter().min_by_key(|failure| failure.event) {
            cx.txn.settle().await.map_err(from_kv)?;
            return Err(first.error);
        }
    }
}

/// Keeps the events of a long statement within bounds: referencing rows whose keys are found, and locked, are done
/// with, and so are new keys that are alone, as another row with the key would be noted itself. The others wait for the
/// end of the statement, which may still put things right.
///
/// # Errors
/// What locks and the store raise.
pub async fn during_statement(cx: &ExecContext) -> PgResult<()> {
    if cx.after.len() < cx.after.next_look(EVENTS_KEPT) { Ok(()) } else { Box::pin(early(cx)).await }
}

async fn early(cx: &ExecContext) -> PgResult<()> {
    let events = put_off(cx, cx.after.take())?;
    let is_check = |event: &RowEvent| {
        matches!(event.change, RowChange::Referencing { .. } | RowChange::UniqueLater { .. })
    };
    let round = Round::of(events.iter().filter(|event| is_check(event)));
    let failed = round.run(cx).await?;
    let mut waiting = vec![false; round.events.len()];
    failed.iter().for_each(|failure| waiting[failure.event] = true);
    let mut checked = waiting.into_iter();
    for event in events {
        if !is_check(&event) || checked.next().unwrap_or(true) {
            cx.after.push(event)?;
        }
    }
    cx.after.looked();
    Ok(())
}

/// Moves deferred events to the transaction; returns the others.
fn put_off(cx: &ExecContext, events: Vec<RowEvent>) -> PgResult<Vec<RowEvent>> {
    let mut now = Vec::with_capacity(events.len());
    let mut deferred = cx.deferred.lock();
    for event in events {
        match deferrable(cx, &event) {
            Some(initially) if deferred.is_deferred(event.constraint, initially) => deferred.push(event)?,
            _ => now.push(event),
        }
    }
    Ok(now)
}

/// Whether an event may wait for the end of the transaction, and then whether it does unless told otherwise. Only
/// checks can, never what changes rows.
fn deferrable(cx: &ExecContext, event: &RowEvent) -> Option<bool> {
    let table = cx.env.catalog.table(event.table)?;
    if let RowChange::UniqueLater { .. } = event.change {
        let index = table.indexes.iter().find(|index| index.constraint == Some(event.constraint))?;
        return index.deferrable.then_some(index.initially_deferred);
    }
    let fk = table.foreign_key(event.constraint)?;
    let is_check = match &event.change {
        RowChange::Referenced { new, .. } => fk.action(new.is_none()) == ReferentialAction::NoAction,
        RowChange::Referencing { .. } | RowChange::UniqueLater { .. } => true,
    };
    (fk.deferrable && is_check).then_some(fk.initially_deferred)
}

/// Before COMMIT: checks all that was put off.
///
/// # Errors
/// As [`after_statement`].
pub async fn at_commit(cx: &ExecContext) -> PgResult<()> {
    fire(cx, &|_| true).await
}

/// SET CONSTRAINTS (no constraints: ALL): checks what is not deferred any more.
///
/// # Errors
/// As [`after_statement`].
pub async fn set_constraints(cx: &ExecContext, constraints: &[Oid], deferred: bool) -> PgResult<()> {
    cx.deferred.lock().set(constraints, deferred);
    if deferred {
        return Ok(());
    }
    fire(cx, &|event| constraints.is_empty() || constraints.contains(&event.constraint)).await
}

async fn fire(cx: &ExecContext, wanted: &(dyn Fn(&RowEvent) -> bool + Send + Sync)) -> PgResult<()> {
    let waiting = cx.deferred.lock().waiting(wanted);
    if waiting.is_empty() {
        return Ok(());
    }
    let failed = Round::of(waiting.iter().map(|(_, event)| event)).run(cx).await?;
    if let Some(first) = failed.into_iter().min_by_key(|failure| failure.event) {
        cx.txn.settle().await.map_err(from_kv)?;
        return Err(first.error);
    }
    let positions: Vec<usize> = waiting.iter().map(|(position, _)| *position).collect();
    cx.deferred.lock().satisfied(&positions);
    Ok(())
}

/// Events that are looked at together.
struct Round<'a> {
    events: Vec<&'a RowEvent>,
    /// Positions of the events of one constraint and kind, in the order of their first events.
    groups: Vec<(Kind, Vec<usize>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Referencing,
    Deleted,
    Updated,
    Unique,
}

type Kind = (Oid, Subject);

/// An event whose constraint is violated.
struct Failure {
    event: usize,
    error: PgError,
}

impl<'a> Round<'a> {
    fn of(events: impl Iterator<Item = &'a RowEvent>) -> Round<'a> {
        let events: Vec<&RowEvent> = events.collect();
        let mut groups: Vec<(Kind, Vec<usize>)> = Vec::new();
        for (position, event) in events.iter().enumerate() {
            let subject = match &event.change {
                RowChange::Referencing { .. } => Subject::Referencing,
                RowChange::Referenced { new: None, .. } => Subject::Deleted,
                RowChange::Referenced { new: Some(_), .. } => Subject::Updated,
                RowChange::UniqueLater { .. } => Subject::Unique,
            };
            let kind = (event.constraint, subject);
            match groups.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, positions)) => positions.push(position),
                None => groups.push((kind, vec![position])),
            }
        }
        Round { events, groups }
    }

    async fn run(&self, cx: &ExecContext) -> PgResult<Vec<Failure>> {
        let mut failures = Vec::new();
        for ((_, subject), positions) in &self.groups {
            let events: Vec<&RowEvent> = positions.iter().map(|position| self.events[*position]).collect();
            let failed = match subject {
                Subject::Referencing => referencing(cx, &events).await?,
                Subject::Deleted => referenced(cx, &events, true).await?,
                Subject::Updated => referenced(cx, &events, false).await?,
                Subject::Unique => {
                    let found = duplicates(cx, &events).await?;
                    found.into_iter().map(|(event, error)| Failure { event, error }).collect()
                }
            };
            failures.extend(failed.into_iter().map(|f| Failure { event: positions[f.event], ..f }));
        }
        Ok(failures)
    }
}

async fn referencing(cx: &ExecContext, events: &[&RowEvent]) -> PgResult<Vec<Failure>> {
    let Some(rel) = Relationship::of_event(cx, events[0], Lock::Parent).await? else { return Ok(Vec::new()) };
    let failed = unsatisfied(cx, &rel, events).await?;
    Ok(failures(cx, &rel, events, failed, false))
}

async fn referenced(cx: &ExecContext, events: &[&RowEvent], on_delete: bool) -> PgResult<Vec<Failure>> {
    let table = cx.env.catalog.table(events[0].table);
    let changes = table
        .and_then(|table| table.foreign_key(events[0].constraint))
        .is_some_and(|fk| fk.action(on_delete).changes_rows());
    let lock = if changes { Lock::ChildRows } else { Lock::Child };
    let Some(rel) = Relationship::of_event(cx, events[0], lock).await? else { return Ok(Vec::new()) };
    let action = rel.fk.action(on_delete);
    if action.changes_rows() {
        change_rows(cx, &rel, events, on_delete).await?;
        // The default may be the key that is gone.
        if action != ReferentialAction::SetDefault {
            return Ok(Vec::new());
        }
    }
    let restrict = action == ReferentialAction::Restrict;
    let failed = still_referenced(cx, &rel, events, restrict).await?;
    Ok(failures(cx, &rel, events, failed, restrict))
}

/// The errors of events that failed.
fn failures(
    cx: &ExecContext,
    rel: &Relationship,
    events: &[&RowEvent],
    failed: Vec<usize>,
    restrict: bool,
) -> Vec<Failure> {
    let error = |event: usize| match &events[event].change {
        RowChange::Referencing { key, .. } => Some(rel.missing(key, &cx.env)),
        RowChange::Referenced { old, .. } => Some(rel.still_referenced(old, restrict, &cx.env)),
        RowChange::UniqueLater { .. } => None,
    };
    let failure = |event| Some(Failure { event, error: error(event)? });
    failed.into_iter().filter_map(failure).collect()
}
