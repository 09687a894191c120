//! Whatever a client sends, and whatever the operands, the answer is a value or an error, never a panic.

use proptest::prelude::*;
use shardforge_types::codec::row;
use shardforge_types::datetime::{self, TimeZone, ops};
use shardforge_types::oid::{self, Oid};
use shardforge_types::{
    DateOrder, DateStyle, Datum, Interval, IntervalStyle, IoEnv, Numeric, TYPES, format, input, output, recv,
    send,
};

/// Text that looks like something of many types.
fn texts() -> impl Strategy<Value = String> {
    let pieces = "[0-9]{1,5}|[0-9]{16,20}|-|\\+|:|\\.|/| |e|E|,|\\{|\\}|\\[|\\]|=|\"|\\\\|P|T|Y|M|D|BC|PM|am|J|jd|dst|now|\
                  today|epoch|infinity|NaN|Jan|tue|year|mons|days|ago|week|hours|Europe/Berlin|UTC|EST|z|0x|_|é|\u{1F600}|null|t|f";
    prop_oneof![
        4 => proptest::collection::vec(pieces, 0..9).prop_map(|pieces| pieces.concat()),
        1 => any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

fn envs() -> impl Strategy<Value = IoEnv> {
    let styles = prop_oneof![
        Just(DateStyle::Iso),
        Just(DateStyle::Sql),
        Just(DateStyle::Postgres),
        Just(DateStyle::German)
    ];
    let orders = prop_oneof![Just(DateOrder::Mdy), Just(DateOrder::Dmy), Just(DateOrder::Ymd)];
    let intervals = prop_oneof![
        Just(IntervalStyle::Postgres),
        Just(IntervalStyle::PostgresVerbose),
        Just(IntervalStyle::SqlStandard),
        Just(IntervalStyle::Iso8601)
    ];
    let zones = prop_oneof![Just("UTC"), Just("America/New_York"), Just("<+14>-14"), Just("Asia/Kolkata")];
    (styles, orders, intervals, zones, -15..4).prop_map(
        |(date_style, date_order, interval_style, zone, digits)| IoEnv {
            date_style,
            date_order,
            interval_style,
            time_zone: TimeZone::by_name(zone).unwrap(),
            extra_float_digits: digits,
            ..IoEnv::default()
        },
    )
}

fn types() -> impl Strategy<Value = Oid> {
    (0..TYPES.len()).prop_map(|index| TYPES[index].oid)
}

fn intervals() -> impl Strategy<Value = Interval> {
    let extremes = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>()];
    prop_oneof![
        (any::<i32>(), any::<i32>(), extremes).prop_map(|(months, days, micros)| Interval {
            months,
            days,
            micros
        }),
        Just(Interval::INFINITY),
        Just(Interval::MINUS_INFINITY),
    ]
}

fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![
        datetime::TIMESTAMP_MIN..datetime::TIMESTAMP_END,
        Just(i64::MIN),
        Just(i64::MAX),
        Just(datetime::TIMESTAMP_MIN),
        Just(datetime::TIMESTAMP_END - 1),
    ]
}

fn dates() -> impl Strategy<Value = i32> {
    prop_oneof![datetime::DATE_MIN..datetime::DATE_END, Just(i32::MIN), Just(i32::MAX)]
}

fn shown(ty: Oid, value: &Datum, env: &IoEnv) -> String {
    let mut out = Vec::new();
    output(ty, value, env, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_text_is_a_value_or_an_error(text in texts(), env in envs(), typmod in prop_oneof![Just(-1), 0..200i32]) {
        for ty in TYPES {
            if let Ok(value) = input(ty.oid, typmod, &text, &env) {
                shown(ty.oid, &value, &env);
                let mut out = Vec::new();
                send(ty.oid, &value, &mut out);
                prop_assert!(recv(ty.oid, -1, &out).is_ok(), "{} {text:?}", ty.name);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(ty in types(), bytes in proptest::collection::vec(any::<u8>(), 0..24), env in envs()) {
        if let Ok(value) = recv(ty, -1, &bytes) {
            shown(ty, &value, &env);
        }
        let mut out = Vec::new();
        let _ = row::text_of_value(&bytes, ty, &env, &mut out);
    }

    #[test]
    fn any_template_is_an_answer(template in "[0-9A-Za-z.,\" \\\\]{0,12}|(FM|TH|th|YYYY|DD|Day|RM|9|0|V|S|PR|MI|D|G|EEEE|RN){0,8}",
                                 micros in timestamps(), interval in intervals(), value in any::<f64>(), int in any::<i64>()) {
        let _ = format::timestamp_to_char(micros, &template);
        let _ = format::interval_to_char(&interval, &template);
        let _ = format::float_to_char(value, 15, &template);
        let _ = format::int_to_char(int, &template);
        let _ = format::numeric_to_char(&Numeric::NaN, &template);
    }

    #[test]
    fn date_arithmetic(a in timestamps(), b in timestamps(), date in dates(), days in any::<i32>(), by in intervals(),
                       other in intervals(), factor in any::<f64>(), env in envs()) {
        let zone = &env.time_zone;
        for moment in [
            ops::timestamp_add(a, &by),
            ops::timestamp_sub(a, &by),
            ops::timestamptz_add(a, &by, zone),
            ops::timestamptz_sub(a, &by, zone),
            ops::date_to_timestamp(date),
            ops::date_to_timestamptz(date, zone),
            ops::timestamp_to_timestamptz(a, zone),
            ops::date_bin(&by, a, b),
            ops::timestamptz_of_epoch(factor),
            ops::make_timestamp((days, date, 3), 4, 5, factor),
            datetime::trunc_timestamp("millennium", a),
            datetime::trunc_timestamptz("week", a, zone),
        ].into_iter().flatten() {
            prop_assert!(datetime::check_timestamp(moment).is_ok());
            shown(oid::TIMESTAMP, &Datum::Timestamp(moment), &env);
            shown(oid::TIMESTAMPTZ, &Datum::Timestamptz(moment), &env);
        }
        for interval in [
            ops::timestamp_diff(a, b),
            ops::age(a, b),
            by.add(&other),
            by.sub(&other),
            by.neg(),
            by.mul(factor),
            by.div(factor),
            by.justify(),
            by.justify_days(),
            by.justify_hours(),
            ops::make_interval([days, date, days, date, days, date], factor),
            datetime::trunc_interval("century", &by),
        ].into_iter().flatten() {
            shown(oid::INTERVAL, &Datum::Interval(interval.into()), &env);
        }
        for part in ["epoch", "julian", "isoyear", "decade", "timezone", "second"] {
            let _ = datetime::extract_timestamptz(part, a, zone);
            let _ = datetime::extract_date(part, date);
            let _ = datetime::extract_interval(part, &by);
        }
        let _ = (ops::date_add(date, days), ops::date_sub(date, days), ops::date_diff(date, days));
        let _ = (ops::timestamp_to_date(a), ops::timestamptz_to_date(a, zone), ops::make_time(days, date, factor));
        let _ = (ops::time_add(5, &by), ops::time_sub(5, &by), ops::interval_to_time(&by), ops::make_date(days, date, 1));
    }
}
