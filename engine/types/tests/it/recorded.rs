//! Replays the recorded questions. A line is `operation TAB argument ... TAB => TAB expected`.

use shardforge_types::datetime::{self, TimeZone, ops};
use shardforge_types::format;
use shardforge_types::io::float;
use shardforge_types::oid::{self, Oid};
use shardforge_types::{
    DateOrder, DateStyle, Datum, Interval, IntervalStyle, IoEnv, Numeric, PgError, PgResult, TypeInfo,
    apply_typmod, compare, input, output, send,
};

#[test]
fn numeric() {
    replay("numeric", include_str!("../data/numeric.tsv"));
}

#[test]
fn types() {
    replay("types", include_str!("../data/types.tsv"));
}

#[test]
fn datetime_text() {
    replay("datetime_text", include_str!("../data/datetime_text.tsv"));
}

#[test]
fn datetime_functions() {
    replay("datetime_functions", include_str!("../data/datetime_functions.tsv"));
}

#[test]
fn to_char() {
    replay("to_char", include_str!("../data/to_char.tsv"));
}

fn replay(name: &str, lines: &str) {
    let mut env = IoEnv::default();
    let mut failures = Vec::new();
    let mut count = 0;
    for (number, line) in lines.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
        let (question, expected) = line.split_once("\t=>\t").unwrap_or((line, ""));
        let fields: Vec<String> = question.split('\t').map(unescape).collect();
        let arguments: Vec<&str> = fields[1..].iter().map(String::as_str).collect();
        if fields[0] == "set" {
            set(&mut env, arguments[0], arguments[1]);
            continue;
        }
        let answer = match answer(&fields[0], &arguments, &env) {
            Ok(answer) => answer,
            Err(error) => shown(&error),
        };
        count += 1;
        if answer != unescape(expected) {
            failures.push(format!(
                "{name}.tsv:{}: {question}\n  expected {expected}\n  answered {answer}",
                number + 1
            ));
        }
    }
    let shown = failures.iter().take(60).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {count} differ:\n{shown}", failures.len());
}

fn set(env: &mut IoEnv, name: &str, value: &str) {
    match name {
        "timezone" => env.time_zone = TimeZone::from_setting(value).expect("a known time zone"),
        "intervalstyle" => {
            env.interval_style = match value {
                "postgres_verbose" => IntervalStyle::PostgresVerbose,
                "sql_standard" => IntervalStyle::SqlStandard,
                "iso_8601" => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            }
        }
        "datestyle" => {
            for word in value.split(", ") {
                match word {
                    "ISO" => env.date_style = DateStyle::Iso,
                    "SQL" => env.date_style = DateStyle::Sql,
                    "Postgres" => env.date_style = DateStyle::Postgres,
                    // German alone means the day first.
                    "German" => (env.date_style, env.date_order) = (DateStyle::German, DateOrder::Dmy),
                    "MDY" => env.date_order = DateOrder::Mdy,
                    "DMY" => env.date_order = DateOrder::Dmy,
                    _ => env.date_order = DateOrder::Ymd,
                }
            }
        }
        _ => panic!("unknown setting {name}"),
    }
}

fn shown(error: &PgError) -> String {
    match &error.detail {
        Some(detail) => format!("!{} {} | {detail}", error.sqlstate, error.message),
        None => format!("!{} {}", error.sqlstate, error.message),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                other => other.unwrap_or('\\'),
            },
            c => c,
        });
    }
    out
}

fn answer(operation: &str, arguments: &[&str], env: &IoEnv) -> PgResult<String> {
    let number = |at: usize| Numeric::parse(arguments[at]);
    let int = |at: usize| arguments[at].parse::<i32>().unwrap_or(0);
    let numeric = |result: PgResult<Numeric>| result.map(|n| n.to_string());
    match operation {
        "in" => {
            let (ty, typmod) = type_of(arguments[0]);
            // A cast: the value is read, then made to fit. But the elements of an array are made to fit as they are read.
            let value = if arguments[0].ends_with("[]") {
                input(ty, typmod, arguments[1], env)?
            } else {
                apply_typmod(ty, typmod, input(ty, -1, arguments[1], env)?, true)?
            };
            Ok(text(ty, &value, env))
        }
        "assign_varchar" => Ok(text(oid::VARCHAR, &input(oid::VARCHAR, int(1) + 4, arguments[0], env)?, env)),
        "assign_bpchar" => Ok(text(oid::BPCHAR, &input(oid::BPCHAR, int(1) + 4, arguments[0], env)?, env)),
        "cmp" => {
            let (ty, _) = type_of(arguments[0]);
            let (a, b) = (input(ty, -1, arguments[1], env)?, input(ty, -1, arguments[2], env)?);
            Ok((compare::cmp(ty, &a, &b) as i8).to_string())
        }
        "send" => {
            let (ty, _) = type_of(arguments[0]);
            let mut out = Vec::new();
            send(ty, &input(ty, -1, arguments[1], env)?, &mut out);
            Ok(out.iter().map(|b| format!("{b:02x}")).collect())
        }
        "add" => numeric(number(0)?.add(&number(1)?)),
        "sub" => numeric(number(0)?.sub(&number(1)?)),
        "mul" => numeric(number(0)?.mul(&number(1)?)),
        "div" => numeric(number(0)?.div(&number(1)?)),
        "mod" => numeric(number(0)?.rem(&number(1)?)),
        "gcd" => numeric(number(0)?.gcd(&number(1)?)),
        "lcm" => numeric(number(0)?.lcm(&number(1)?)),
        "pow" => numeric(number(0)?.pow(&number(1)?)),
        "log2" => numeric(number(0)?.log(&number(1)?)),
        "sqrt" => numeric(number(0)?.sqrt()),
        "exp" => numeric(number(0)?.exp()),
        "ln" => numeric(number(0)?.ln()),
        "log10" => numeric(number(0)?.log10()),
        "ceil" => numeric(number(0)?.ceil()),
        "floor" => numeric(number(0)?.floor()),
        "sign" => Ok(number(0)?.sign().to_string()),
        "abs" => Ok(number(0)?.abs().to_string()),
        "trim_scale" => Ok(number(0)?.trim_scale().to_string()),
        "scale" => Ok(number(0)?.scale().map_or("<null>".into(), |s| s.to_string())),
        "min_scale" => Ok(number(0)?.min_scale().map_or("<null>".into(), |s| s.to_string())),
        "round" => numeric(number(0)?.round(int(1))),
        "trunc" => numeric(number(0)?.trunc(int(1))),
        "cast" => {
            let (ty, _) = type_of(arguments[0]);
            let number = number(1)?;
            let value = match ty {
                oid::INT2 => Datum::Int2(number.to_i16()?),
                oid::INT4 => Datum::Int4(number.to_i32()?),
                oid::INT8 => Datum::Int8(number.to_i64()?),
                oid::FLOAT4 => Datum::Float4(number.to_f32()?),
                _ => Datum::Float8(number.to_f64()?),
            };
            Ok(text(ty, &value, env))
        }
        "castfrom" => {
            let (ty, _) = type_of(arguments[0]);
            numeric(match input(ty, -1, arguments[1], env)? {
                Datum::Float4(v) => Numeric::from_f32(v),
                Datum::Float8(v) => Numeric::from_f64(v),
                _ => Ok(Numeric::ZERO),
            })
        }
        _ => datetime_answer(operation, arguments, env),
    }
}

fn datetime_answer(operation: &str, arguments: &[&str], env: &IoEnv) -> PgResult<String> {
    let read = |ty: Oid, at: usize| input(ty, -1, arguments[at], env);
    let interval = |at: usize| datetime::interval_in(arguments[at], -1, env);
    let timestamp = |at: usize| datetime::timestamp_in(arguments[at], env);
    let factor = |at: usize| float::parse_float8(arguments[at]);
    let show = |ty: Oid, value: Datum| Ok(text(ty, &value, env));
    let show_interval = |result: PgResult<Interval>| show(oid::INTERVAL, Datum::Interval(result?.into()));
    let zone = &env.time_zone;
    match operation {
        "trunc_ts" => match read(type_of(arguments[1]).0, 2)? {
            Datum::Timestamp(v) => {
                show(oid::TIMESTAMP, Datum::Timestamp(datetime::trunc_timestamp(arguments[0], v)?))
            }
            Datum::Interval(v) => show_interval(datetime::trunc_interval(arguments[0], &v)),
            other => panic!("date_trunc of {other:?}"),
        },
        "trunc_tz" => {
            let zone = TimeZone::for_conversion(arguments[2])?;
            let moment = datetime::timestamptz_in(arguments[1], env)?;
            let cut = datetime::trunc_timestamptz(arguments[0], moment, &zone)?;
            show(oid::TIMESTAMPTZ, Datum::Timestamptz(cut))
        }
        "extract" => {
            let name = arguments[0];
            let value = match read(type_of(arguments[1]).0, 2)? {
                Datum::Timestamp(v) => datetime::extract_timestamp(name, v)?,
                Datum::Timestamptz(v) => datetime::extract_timestamptz(name, v, zone)?,
                Datum::Date(v) => datetime::extract_date(name, v)?,
                Datum::Time(v) => datetime::extract_time(name, v)?,
                Datum::Timetz(v) => datetime::extract_timetz(name, v)?,
                Datum::Interval(v) => datetime::extract_interval(name, &v)?,
                other => panic!("extract from {other:?}"),
            };
            Ok(value.map_or("<null>".to_owned(), |v| v.to_string()))
        }
        "age" => show_interval(ops::age(timestamp(0)?, timestamp(1)?)),
        "ts_diff" => show_interval(ops::timestamp_diff(timestamp(0)?, timestamp(1)?)),
        "ts+" | "ts-" => {
            let by = if operation == "ts+" { interval(2)? } else { interval(2)?.neg()? };
            match read(type_of(arguments[0]).0, 1)? {
                Datum::Timestamp(v) => show(oid::TIMESTAMP, Datum::Timestamp(ops::timestamp_add(v, &by)?)),
                Datum::Date(v) => {
                    let sum = ops::timestamp_add(ops::date_to_timestamp(v)?, &by)?;
                    show(oid::TIMESTAMP, Datum::Timestamp(sum))
                }
                Datum::Timestamptz(v) => {
                    show(oid::TIMESTAMPTZ, Datum::Timestamptz(ops::timestamptz_add(v, &by, zone)?))
                }
                Datum::Time(v) if operation == "ts+" => show(oid::TIME, Datum::Time(ops::time_add(v, &by)?)),
                Datum::Time(v) => show(oid::TIME, Datum::Time(ops::time_sub(v, &interval(2)?)?)),
                other => panic!("{other:?} + interval"),
            }
        }
        "justify" => show_interval(interval(0)?.justify()),
        "iv_mul" => show_interval(interval(0)?.mul(factor(1)?)),
        "iv_div" => show_interval(interval(0)?.div(factor(1)?)),
        "iv+" => show_interval(interval(0)?.add(&interval(1)?)),
        "at_zone" => {
            let zone = TimeZone::for_conversion(arguments[1])?;
            match read(type_of(arguments[0]).0, 2)? {
                Datum::Timestamp(v) => {
                    show(oid::TIMESTAMPTZ, Datum::Timestamptz(ops::timestamp_to_timestamptz(v, &zone)?))
                }
                Datum::Timestamptz(v) => {
                    show(oid::TIMESTAMP, Datum::Timestamp(ops::timestamptz_to_timestamp(v, &zone)))
                }
                other => panic!("{other:?} at time zone"),
            }
        }
        "to_char" => {
            let template = arguments[2];
            let answer = match read(type_of(arguments[0]).0, 1)? {
                Datum::Timestamp(v) => format::timestamp_to_char(v, template)?,
                Datum::Timestamptz(v) => format::timestamptz_to_char(v, template, zone)?,
                Datum::Interval(v) => format::interval_to_char(&v, template)?,
                Datum::Numeric(v) => Some(format::numeric_to_char(&v, template)?),
                Datum::Int4(v) => Some(format::int_to_char(i64::from(v), template)?),
                Datum::Float8(v) => Some(format::float_to_char(v, 15, template)?),
                Datum::Float4(v) => Some(format::float_to_char(f64::from(v), 6, template)?),
                other => panic!("to_char of {other:?}"),
            };
            Ok(answer.unwrap_or("<null>".to_owned()))
        }
        "make_date" => {
            let part = |at: usize| arguments[at].parse::<i32>().unwrap_or(0);
            show(oid::DATE, Datum::Date(ops::make_date(part(0), part(1), part(2))?))
        }
        _ => panic!("unknown operation {operation}"),
    }
}

fn text(ty: Oid, value: &Datum, env: &IoEnv) -> String {
    let mut out = Vec::new();
    output(ty, value, env, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The oid and type modifier of `numeric(4,2)`, `varchar(3)[]`, `timestamp(3)`, ...
fn type_of(name: &str) -> (Oid, i32) {
    let (base, array) = name.strip_suffix("[]").map_or((name, false), |base| (base, true));
    let (base, arguments) = base.split_once('(').unwrap_or((base, ""));
    let arguments: Vec<i32> =
        arguments.trim_end_matches(')').split(',').filter_map(|a| a.parse().ok()).collect();
    let base = match base {
        "char" => "bpchar",
        "\"char\"" => "char",
        other => other,
    };
    let info = TypeInfo::by_name(base).unwrap_or_else(|| panic!("unknown type {name}"));
    let typmod = match (info.oid, arguments.as_slice()) {
        (_, []) => -1,
        (oid::NUMERIC, [precision]) => (precision << 16) + 4,
        (oid::NUMERIC, [precision, scale, ..]) => (precision << 16 | scale & 0x7ff) + 4,
        (oid::VARCHAR | oid::BPCHAR, [len, ..]) => len + 4,
        (_, [precision, ..]) => *precision,
    };
    (if array { info.array } else { info.oid }, typmod)
}
