//! Random numbers, uuids, sequences, advisory locks, and small things that belong nowhere else.

use std::sync::Arc;
use std::time::Duration;

use shardforge_types::{Datum, Numeric, Oid, PgError, PgResult, RecordValue, SqlState, oid};

use super::args::Args;
use super::random::Random;
use super::registry::KernelTable;
use crate::catalog::Relation;
use crate::engine::UNIX_TO_2000_MICROS;
use crate::exec::env::{AdvisoryKey, AdvisoryMode, EvalEnv};
use crate::func::CallInfo;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("drandom", |_, _, env| Ok(Datum::Float8(env.session.random.lock().next_f64()))),
    ("drandom_normal", |a, _, env| {
        Ok(Datum::Float8(env.session.random.lock().next_normal() * a.float8(1)? + a.float8(0)?))
    }),
    ("int4random", |a, _, env| {
        let (min, max) = (a.int4(0)?, a.int4(1)?);
        check_bounds(min <= max)?;
        Ok(Datum::Int4(env.session.random.lock().in_range(i64::from(min), i64::from(max)) as i32))
    }),
    ("int8random", |a, _, env| {
        let (min, max) = (a.int8(0)?, a.int8(1)?);
        check_bounds(min <= max)?;
        Ok(Datum::Int8(env.session.random.lock().in_range(min, max)))
    }),
    ("numeric_random", random_numeric),
    ("setseed", setseed),

    ("gen_random_uuid", |_, _, env| Ok(Datum::Uuid(uuid_bytes(4, random_bytes(env))))),
    ("uuidv7", |_, _, env| Ok(Datum::Uuid(uuid_v7(env.session.host.clock_micros(), env)))),
    ("uuid_extract_version", |a, _, _| Ok(uuid_version(a.uuid(0)?).map_or(Datum::Null, Datum::Int2))),
    ("uuid_extract_timestamp", |a, _, _| Ok(uuid_timestamp(a.uuid(0)?).map_or(Datum::Null, Datum::Timestamptz))),

    ("nextval_oid", |a, _, env| env.session.sequences.nextval(sequence(a, env)?).map(Datum::Int8)),
    ("currval_oid", |a, _, env| env.session.sequences.currval(sequence(a, env)?).map(Datum::Int8)),
    ("lastval", |_, _, env| env.session.sequences.lastval().map(Datum::Int8)),
    ("setval_oid", |a, _, env| env.session.sequences.setval(sequence(a, env)?, a.int8(1)?, true).map(Datum::Int8)),
    ("setval3_oid", |a, _, env| {
        env.session.sequences.setval(sequence(a, env)?, a.int8(1)?, a.bool(2)?).map(Datum::Int8)
    }),
    ("pg_sequence_last_value", |a, _, env| {
        Ok(env.session.sequences.last_value(sequence(a, env)?)?.map_or(Datum::Null, Datum::Int8))
    }),

    ("pg_get_sequence_data", |a, _, env| {
        let (last, is_called) = env.session.sequences.state(sequence(a, env)?)?;
        let fields = vec![Datum::Int8(last), Datum::Bool(is_called)];
        Ok(Datum::Record(Arc::new(RecordValue { types: vec![oid::INT8, oid::BOOL], fields })))
    }),

    ("pg_advisory_lock_int8", |a, _, env| lock(big(a)?, EXCLUSIVE, true, env)),
    ("pg_advisory_lock_shared_int8", |a, _, env| lock(big(a)?, SHARED, true, env)),
    ("pg_advisory_xact_lock_int8", |a, _, env| lock(big(a)?, XACT_EXCLUSIVE, true, env)),
    ("pg_advisory_xact_lock_shared_int8", |a, _, env| lock(big(a)?, XACT_SHARED, true, env)),
    ("pg_try_advisory_lock_int8", |a, _, env| lock(big(a)?, EXCLUSIVE, false, env)),
    ("pg_try_advisory_lock_shared_int8", |a, _, env| lock(big(a)?, SHARED, false, env)),
    ("pg_try_advisory_xact_lock_int8", |a, _, env| lock(big(a)?, XACT_EXCLUSIVE, false, env)),
    ("pg_try_advisory_xact_lock_shared_int8", |a, _, env| lock(big(a)?, XACT_SHARED, false, env)),
    ("pg_advisory_lock_int4", |a, _, env| lock(pair(a)?, EXCLUSIVE, true, env)),
    ("pg_advisory_lock_shared_int4", |a, _, env| lock(pair(a)?, SHARED, true, env)),
    ("pg_advisory_xact_lock_int4", |a, _, env| lock(pair(a)?, XACT_EXCLUSIVE, true, env)),
    ("pg_advisory_xact_lock_shared_int4", |a, _, env| lock(pair(a)?, XACT_SHARED, true, env)),
    ("pg_try_advisory_lock_int4", |a, _, env| lock(pair(a)?, EXCLUSIVE, false, env)),
    ("pg_try_advisory_lock_shared_int4", |a, _, env| lock(pair(a)?, SHARED, false, env)),
    ("pg_try_advisory_xact_lock_int4", |a, _, env| lock(pair(a)?, XACT_EXCLUSIVE, false, env)),
    ("pg_try_advisory_xact_lock_shared_int4", |a, _, env| lock(pair(a)?, XACT_SHARED, false, env)),
    ("pg_advisory_unlock_int8", |a, _, env| env.session.host.advisory_unlock(big(a)?, false).map(Datum::Bool)),
    ("pg_advisory_unlock_shared_int8", |a, _, env| env.session.host.advisory_unlock(big(a)?, true).map(Datum::Bool)),
    ("pg_advisory_unlock_int4", |a, _, env| env.session.host.advisory_unlock(pair(a)?, false).map(Datum::Bool)),
    ("pg_advisory_unlock_shared_int4", |a, _, env| env.session.host.advisory_unlock(pair(a)?, true).map(Datum::Bool)),
    ("pg_advisory_unlock_all", |_, _, env| env.session.host.advisory_unlock_all().map(|()| void())),

    ("pg_sleep", |a, _, env| {
        let seconds = a.float8(0)?.clamp(0.0, 1e9);
        env.session.host.sleep(Duration::from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds }))?;
        Ok(void())
    }),
    ("pg_notify", |a, _, env| {
        // Not strict: NULL stands for an empty text.
        let text = |i: usize| if a[i].is_null() { Ok("") } else { a.text(i) };
        env.session.host.notify(text(0)?, text(1)?).map(|()| void())
    }),
    ("pg_notification_queue_usage", |_, _, env| {
        Ok(Datum::Float8(env.session.host.notification_queue_usage()))
    }),
    ("pg_cancel_backend", |a, _, env| env.session.host.signal_backend(a.int4(0)?, false).map(Datum::Bool)),
    ("pg_terminate_backend", |a, _, env| env.session.host.signal_backend(a.int4(0)?, true).map(Datum::Bool)),

    ("pg_num_nulls", |a, info, _| Ok(count_nulls(a, info, true)?.map_or(Datum::Null, Datum::Int4))),
    ("pg_num_nonnulls", |a, info, _| Ok(count_nulls(a, info, false)?.map_or(Datum::Null, Datum::Int4))),
    ("pg_size_pretty", |a, _, _| Ok(Datum::text(size_pretty(a.int8(0)?)))),
    ("pg_size_bytes", |a, _, _| size_bytes(a.text(0)?).map(Datum::Int8)),
];

const EXCLUSIVE: AdvisoryMode = AdvisoryMode { shared: false, transaction: false };
const SHARED: AdvisoryMode = AdvisoryMode { shared: true, transaction: false };
const XACT_EXCLUSIVE: AdvisoryMode = AdvisoryMode { shared: false, transaction: true };
const XACT_SHARED: AdvisoryMode = AdvisoryMode { shared: true, transaction: true };

/// What a function that returns nothing returns.
fn void() -> Datum {
    Datum::text("")
}

fn check_bounds(ordered: bool) -> PgResult<()> {
    if ordered {
        return Ok(());
    }
    let message = "lower bound must be less than or equal to upper bound";
    Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

/// A numeric in `[min, max]` with the greater scale of the two.
fn random_numeric(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let (min, max) = (args.numeric(0)?, args.numeric(1)?);
    for (bound, name) in [(min, "lower"), (max, "upper")] {
        if bound.is_nan() {
            return Err(PgError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("{name} bound cannot be NaN"),
            ));
        }
        if !bound.is_finite() {
            return Err(PgError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("{name} bound cannot be infinity"),
            ));
        }
    }
    check_bounds(min.cmp_value(max).is_le())?;
    let scale = min.scale().max(max.scale()).unwrap_or(0);
    let unit = Numeric::from_units(1, scale);
    let steps = max.sub(min)?.div_trunc(&unit)?;
    let drawn = match steps.to_i64() {
        Ok(steps) => Numeric::from(env.session.random.lock().in_range(0, steps)),
        // More steps than 64 bits count: a random fraction of them is fine enough.
        Err(_) => steps.mul(&Numeric::from_f64(env.session.random.lock().next_f64())?)?.trunc(0)?,
    };
    min.add(&drawn.mul(&unit)?)?.round(i32::from(scale)).map(Datum::Numeric)
}

fn setseed(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let seed = args.float8(0)?;
    if !(-1.0..=1.0).contains(&seed) {
        let message = format!("setseed parameter {seed} is out of allowed range [-1,1]");
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    *env.session.random.lock() = Random::from_fraction(seed);
    Ok(void())
}

fn random_bytes(env: &EvalEnv) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&env.session.host.random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&env.session.host.random_u64().to_be_bytes());
    bytes
}

/// Sets the version and the variant of RFC 9562.
fn uuid_bytes(version: u8, mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0F | version << 4;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

/// Milliseconds since 1970, then 12 bits of the millisecond's fraction, then random bits.
fn uuid_v7(clock_micros: i64, env: &EvalEnv) -> [u8; 16] {
    let unix = clock_micros.saturating_add(UNIX_TO_2000_MICROS).max(0);
    let (millis, fraction) = (unix / 1000, unix % 1000 * 4096 / 1000);
    let mut bytes = random_bytes(env);
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6..8].copy_from_slice(&(fraction as u16).to_be_bytes());
    uuid_bytes(7, bytes)
}

fn uuid_version(uuid: [u8; 16]) -> Option<i16> {
    (uuid[8] & 0xC0 == 0x80).then(|| i16::from(uuid[6] >> 4))
}

fn uuid_timestamp(uuid: [u8; 16]) -> Option<i64> {
    let word = |bytes: &[u8]| bytes.iter().fold(0i64, |word, byte| word << 8 | i64::from(*byte));
    match uuid_version(uuid)? {
        // 100 ns since 1582-10-15: low, middle and high part.
        1 => {
            let ticks = (word(&uuid[6..8]) & 0x0FFF) << 48 | word(&uuid[4..6]) << 32 | word(&uuid[..4]);
            const GREGORIAN_TO_2000_TICKS: i64 = 131_659_776_000_000_000;
            Some((ticks - GREGORIAN_TO_2000_TICKS) / 10)
        }
        7 => Some(word(&uuid[..6]) * 1000 - UNIX_TO_2000_MICROS),
        _ => None,
    }
}

/// The sequence that the first argument names; anything else is 42809.
fn sequence(args: &[Datum], env: &EvalEnv) -> PgResult<Oid> {
    let oid = Oid(args.oid(0)?);
    match env.catalog.relation(oid) {
        Some(Relation::Sequence(_)) => Ok(oid),
        Some(other) => {
            let message = format!("\"{}\" is not a sequence", other.name());
            Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
        None => match crate::catalog::builtin::system_relation(oid) {
            Some(relation) => {
                let message = format!("\"{}\" is not a sequence", relation.name);
                Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message))
            }
            None => Err(PgError::new(
                SqlState::UNDEFINED_TABLE,
                format!("could not open relation with OID {oid}"),
            )),
        },
    }
}

fn big(args: &[Datum]) -> PgResult<AdvisoryKey> {
    args.int8(0).map(AdvisoryKey::Big)
}

fn pair(args: &[Datum]) -> PgResult<AdvisoryKey> {
    Ok(AdvisoryKey::Pair(args.int4(0)?, args.int4(1)?))
}

/// The waiting forms answer void, the trying ones whether they got it.
fn lock(key: AdvisoryKey, mode: AdvisoryMode, wait: bool, env: &EvalEnv) -> PgResult<Datum> {
    let held = env.session.host.advisory_lock(key, mode, wait)?;
    Ok(if wait { void() } else { Datum::Bool(held) })
}

fn count_nulls(args: &[Datum], info: &CallInfo, nulls: bool) -> PgResult<Option<i32>> {
    let count = |values: &[Datum]| values.iter().filter(|value| value.is_null() == nulls).count() as i32;
    if !info.variadic {
        return Ok(Some(count(args)));
    }
    if args.datum(0).is_null() {
        return Ok(None);
    }
    Ok(Some(count(&args.array(0)?.elements)))
}

/// Bytes in the largest unit that keeps at least 10 of it, rounded half up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: &[&str] = &["bytes", "kB", "MB", "GB", "TB", "PB"];
    const LIMIT: u64 = 10 * 1024;
    let sign = if bytes < 0 { "-" } else { "" };
    // Kept doubled from kB on, so that the last bit rounds.
    let mut size = bytes.unsigned_abs();
    if size < LIMIT {
        return format!("{sign}{size} bytes");
    }
    size /= 512;
    for unit in &UNITS[1..] {
        if size < LIMIT * 2 - 1 || *unit == "PB" {
            return format!("{sign}{} {unit}", size.div_ceil(2));
        }
        size /= 1024;
    }
    format!("{bytes} bytes")
}

fn size_bytes(text: &str) -> PgResult<i64> {
    let invalid = || PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid size: \"{text}\""));
    let trimmed = text.trim();
    let mut end = 0;
    let bytes = trimmed.as_bytes();
    while end < bytes.len() {
        let is_exponent = matches!(bytes[end], b'e' | b'E')
            && bytes[end + 1..].iter().find(|b| !matches!(b, b'+' | b'-')).is_some_and(u8::is_ascii_digit);
        let is_exponent_sign =
            end > 0 && matches!(bytes[end], b'+' | b'-') && matches!(bytes[end - 1], b'e' | b'E');
        let is_sign = end == 0 && matches!(bytes[end], b'+' | b'-');
        if !(bytes[end].is_ascii_digit() || bytes[end] == b'.' || is_exponent || is_exponent_sign || is_sign)
        {
            break;
        }
        end += 1;
    }
    let number = Numeric::parse(&trimmed[..end]).map_err(|_| invalid())?;
    let unit = trimmed[end..].trim();
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "kb" => 1,
        "mb" => 2,
        "gb" => 3,
        "tb" => 4,
        "pb" => 5,
        _ => {
            return Err(invalid()
                .detail(format!("Invalid size unit: \"{unit}\"."))
                .hint("Valid units are \"bytes\", \"B\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\"."));
        }
    };
    number.mul(&Numeric::from(1i64 << (10 * power)))?.to_i64()
}
