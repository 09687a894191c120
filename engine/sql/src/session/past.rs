//! AS OF SYSTEM TIME: transactions that read a state of the past.
//!
//! The clause stands after FROM, as in CockroachDB, or among the modes of BEGIN and SET TRANSACTION. It is about the
//! whole transaction: that reads one state, and cannot write. What it says is a point in time (`'2026-01-01 12:00'`),
//! how long ago (`'-10s'`), or a number of nanoseconds since 1970 with the logical part of the clock behind the point.
//!
//! States are kept for the setting `gc_ttl`. Tables are read as they are defined now: one that has been changed since
//! is refused, rather than read by a definition that its old rows do not have.

use std::sync::Arc;

use shardforge_kv::{IsolationLevel, KvError, Timestamp, TxnOptions, Visibility};
use shardforge_types::{Datum, Interval, IoEnv, Oid, PgError, PgResult, SqlState, oid};

use super::PgSession;
use super::error::from_kv;
use crate::bind;
use crate::catalog::relation_key;
use crate::engine::UNIX_TO_2000_MICROS;
use crate::exec::eval::CompiledExpr;
use crate::ir::Ty;
use crate::parse::ast::Expr;

/// Digits behind the point of a timestamp written as a number: the logical part of the clock.
const LOGICAL_DIGITS: usize = 10;

impl PgSession {
    /// Lets a query read the past: in a transaction of its own, or in one that reads the same past.
    ///
    /// # Errors
    /// 25001 in any other transaction; those of [`Self::past_timestamp`] and [`Self::travel_to`].
    pub(super) fn query_the_past(&mut self, expr: &Expr) -> PgResult<()> {
        let at = self.past_timestamp(expr)?;
        match &self.txn {
            Some(txn) if txn.as_of == Some(at) => Ok(()),
            Some(txn) if txn.explicit || txn.used => Err(PgError::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "AS OF SYSTEM TIME must be the same for all of a transaction",
            )
            .hint("Say it when the transaction begins: BEGIN AS OF SYSTEM TIME.")),
            _ => self.travel_to(at),
        }
    }

    /// The point in time that an expression means.
    ///
    /// # Errors
    /// 22023 if it means none.
    pub(super) fn past_timestamp(&mut self, expr: &Expr) -> PgResult<Timestamp> {
        let env = self.eval_env();
        let (catalog, search_path) = (env.catalog.clone(), env.search_path.clone());
        let database = self.database_name.clone();
        let cx = self.bind_context(&catalog, &search_path, &env.io, &database, Vec::new());
        let mut scalar = bind::bind_expression(expr, None, &cx)?;
        if matches!(scalar.ty.oid, oid::TIMESTAMP | oid::DATE) {
            scalar = bind::bind_expression(expr, Some(Ty::new(oid::TIMESTAMPTZ)), &cx)?;
        }
        let value = CompiledExpr::compile(&scalar, &|_| None)?.eval(&Vec::new(), &[], &env)?;
        let found = match &value {
            Datum::Text(text) => timestamp_of_text(text, &env.io, env.statement_timestamp),
            value => timestamp_of(value, env.statement_timestamp),
        };
        found.ok_or_else(|| {
            PgError::new(SqlState::INVALID_PARAMETER_VALUE, "AS OF SYSTEM TIME must be a point in time")
                .hint("Write a timestamp, a negative interval, or nanoseconds since 1970 as a number.")
        })
    }

    /// Makes the transaction, in which nothing has run yet, one that reads the state as of a timestamp.
    ///
    /// # Errors
    /// 25001 if a statement has run; 22023 if the state is not kept any more, or lies in the future.
    pub(super) fn travel_to(&mut self, at: Timestamp) -> PgResult<()> {
        if self.txn.as_ref().is_some_and(|txn| txn.used) {
            let message = "SET TRANSACTION AS OF SYSTEM TIME must be called before any query";
            return Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let options = TxnOptions { session: self.env.backend_pid as u64, ..TxnOptions::default() };
        let begun = match self.engine.store.begin_at(options, at) {
            Ok(begun) => Arc::new(begun),
            Err(KvError::SnapshotTooOld { oldest }) => {
                let io = self.settings.parsed(|parsed| parsed.io.clone());
                let message = format!("cannot read a state before {}", text_of(oldest, &io));
                return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message).hint(
                    "Old row versions are kept for as long as gc_ttl says, and not beyond a restart.",
                ));
            }
            Err(error) => return Err(from_kv(error)),
        };
        let txn = self.ensure_txn();
        txn.txn = begun.clone();
        txn.isolation = IsolationLevel::RepeatableRead;
        txn.read_only = true;
        txn.as_of = Some(at);
        self.services.set_transaction(Some((begun, self.message_at)));
        Ok(())
    }

    /// Makes sure that a table is defined now as it was in the past that the transaction reads.
    ///
    /// # Errors
    /// 42P01 if it did not exist, 55000 if it has been changed.
    pub(super) async fn check_as_it_was(&mut self, table: Oid) -> PgResult<()> {
        let key = relation_key(self.database, table);
        let txn = self.ensure_txn().txn.clone();
        let then = txn.get(&key, Visibility::Statement).await.map_err(from_kv)?;
        let now = txn.get(&key, Visibility::Latest).await.map_err(from_kv)?;
        if then == now {
            return Ok(());
        }
        let catalog = self.catalog();
        let name = catalog.relation(table).map_or_else(|| table.0.to_string(), |r| r.name().to_owned());
        Err(match then {
            None => PgError::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{name}\" did not exist at the time asked for"),
            ),
            Some(_) => PgError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("relation \"{name}\" has been altered since the time asked for"),
            )
            .hint("Only states since the last change of its definition can be read."),
        })
    }
}

/// Microseconds since 2000 as a timestamp of the store.
fn of_micros(micros: i64) -> Option<Timestamp> {
    let since_1970 = micros.checked_add(UNIX_TO_2000_MICROS)?;
    Some(Timestamp::from_micros(u64::try_from(since_1970).ok()?))
}

/// A value as a timestamp; `now` in microseconds since 2000.
fn timestamp_of(value: &Datum, now: i64) -> Option<Timestamp> {
    match value {
        Datum::Timestamptz(micros) => of_micros(*micros),
        Datum::Interval(interval) => of_micros(now.checked_add(micros_of(interval)?)?),
        Datum::Numeric(number) => timestamp_of_number(&number.to_string()),
        value => timestamp_of_number(&value.as_i64()?.to_string()),
    }
}

fn timestamp_of_text(text: &str, io: &IoEnv, now: i64) -> Option<Timestamp> {
    let read = |ty| shardforge_types::input(ty, -1, text, io).ok();
    if let Some(number) = timestamp_of_number(text.trim()) {
        return Some(number);
    }
    let value = read(oid::TIMESTAMPTZ).or_else(|| read(oid::INTERVAL))?;
    timestamp_of(&value, now)
}

/// `nanoseconds.logical`: the logical part has ten digits, as CockroachDB prints it.
fn timestamp_of_number(text: &str) -> Option<Timestamp> {
    let (nanos, logical) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if nanos.is_empty() || !is_digits(nanos) || !is_digits(logical) || logical.len() > LOGICAL_DIGITS {
        return None;
    }
    let micros = nanos.parse::<u64>().ok()? / 1_000;
    let logical: u64 = format!("{logical:0<LOGICAL_DIGITS$}").parse().ok()?;
    let first = Timestamp::from_micros(micros);
    let at = Timestamp::from_u64(first.as_u64().checked_add(logical)?);
    (at.micros() == micros).then_some(at)
}

/// Microseconds of an interval, with PostgreSQL's 30 days a month.
pub(super) fn micros_of(interval: &Interval) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let days = i64::from(interval.months).checked_mul(30)?.checked_add(i64::from(interval.days))?;
    days.checked_mul(DAY)?.checked_add(interval.micros)
}

fn text_of(at: Timestamp, io: &IoEnv) -> String {
    // The next microsecond: the first of this one may be before it.
    let micros = i64::try_from(at.micros() + 1).unwrap_or(i64::MAX).saturating_sub(UNIX_TO_2000_MICROS);
    let mut text = Vec::new();
    shardforge_types::output(oid::TIMESTAMPTZ, &Datum::Timestamptz(micros), io, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_can_be_written_in_three_ways() {
        let io = IoEnv::default();
        let now = 1_000_000_000;
        let of = |text| timestamp_of_text(text, &io, now);
        let second = Timestamp::from_micros(1_577_836_800_000_000);
        assert_eq!(of("2020-01-01 00:00:00+00"), Some(second));
        assert_eq!(of("1577836800000000000"), Some(second));
        assert_eq!(of("1577836800000000000.0000000002"), Some(second.after().after()));
        assert_eq!(of("-10s"), of_micros(now - 10_000_000));
        assert_eq!(of("-1 day"), of_micros(now - 86_400_000_000));
        assert_eq!(timestamp_of(&Datum::Int8(1_577_836_800_000_000_000), now), Some(second));
        for nonsense in ["", "yesterday's", "1577836800000000000.5", "1.2.x", "99999999999999999999999"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
    }
}
