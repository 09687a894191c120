//! Properties of the encodings: keys sort as values compare, and everything reads back.

use proptest::prelude::*;
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::codec::row::{self, RowView, RowWriter};
use shardforge_types::oid::{self, Oid};
use shardforge_types::{ArrayValue, Datum, Interval, IoEnv, Numeric, TimeTz, compare, output, recv, send};

fn numerics() -> impl Strategy<Value = Numeric> {
    prop_oneof![
        Just(Numeric::NaN),
        Just(Numeric::PosInf),
        Just(Numeric::NegInf),
        (any::<i64>(), 0u16..19).prop_map(|(units, scale)| Numeric::Small { units, scale }),
        (-200i128..200, 0u16..6).prop_map(|(units, scale)| Numeric::from_units(units, scale)),
        (any::<i128>(), 0u16..60).prop_map(|(units, scale)| Numeric::from_units(units, scale)),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c \u{1}\u{2}é]{0,4}", any::<String>()].prop_map(|s| s.replace('\0', ""))
}

fn of_type() -> impl Strategy<Value = (Oid, Datum, Datum)> {
    fn pair<T>(
        ty: Oid,
        values: impl Strategy<Value = T> + Clone + 'static,
        make: impl Fn(T) -> Datum + Clone + 'static,
    ) -> BoxedStrategy<(Oid, Datum, Datum)>
    where
        T: std::fmt::Debug + Clone + 'static,
    {
        let make_b = make.clone();
        (values.clone(), values).prop_map(move |(a, b)| (ty, make(a), make_b(b))).no_shrink().boxed()
    }
    let bytes = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..6);
    let floats = prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::INFINITY)];
    let elements = proptest::collection::vec(proptest::option::of(-2i32..3), 0..4);
    prop_oneof![
        pair(oid::BOOL, any::<bool>().boxed(), Datum::Bool),
        pair(oid::INT2, any::<i16>().boxed(), Datum::Int2),
        pair(oid::INT4, any::<i32>().boxed(), Datum::Int4),
        pair(oid::INT8, any::<i64>().boxed(), Datum::Int8),
        pair(oid::FLOAT8, floats.clone().boxed(), Datum::Float8),
        pair(oid::FLOAT4, floats.boxed(), |v| Datum::Float4(v as f32)),
        pair(oid::NUMERIC, numerics().boxed(), Datum::Numeric),
        pair(oid::TEXT, texts().boxed(), Datum::text),
        pair(oid::BPCHAR, texts().boxed(), Datum::text),
        pair(oid::BYTEA, bytes.boxed(), Datum::bytea),
        pair(oid::UUID, any::<[u8; 16]>().boxed(), Datum::Uuid),
        pair(oid::CHAR, any::<u8>().boxed(), Datum::Char),
        pair(oid::DATE, any::<i32>().boxed(), Datum::Date),
        pair(oid::TIMESTAMPTZ, any::<i64>().boxed(), Datum::Timestamptz),
        pair(oid::TIMETZ, (0i64..86_400_000_000, -50_000..50_000i32).boxed(), |(micros, zone)| {
            Datum::Timetz(TimeTz { micros, zone_secs_west: zone })
        }),
        pair(
            oid::INTERVAL,
            (-20i32..20, -90i32..90, any::<i32>().prop_map(|v| i64::from(v) * 1_000_000)).boxed(),
            |(months, days, micros)| { Datum::Interval(Interval { months, days, micros }.into()) }
        ),
        pair(oid::REGCLASS, any::<u32>().boxed(), Datum::Oid),
        pair(oid::INT4_ARRAY, elements.boxed(), |elements| {
            let elements = elements.into_iter().map(|e| e.map_or(Datum::Null, Datum::Int4)).collect();
            Datum::Array(ArrayValue::from_elements(oid::INT4, elements).into())
        }),
    ]
}

fn orders() -> impl Strategy<Value = KeyOrder> {
    (any::<bool>(), any::<bool>()).prop_map(|(descending, nulls_first)| KeyOrder { descending, nulls_first })
}

fn encoded(ty: Oid, order: KeyOrder, value: &Datum) -> Vec<u8> {
    let mut out = Vec::new();
    key::encode(ty, order, value, &mut out);
    out
}

fn text(ty: Oid, value: &Datum) -> String {
    let mut out = Vec::new();
    output(ty, value, &IoEnv::default(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn key_order_is_value_order((ty, a, b) in of_type(), order in orders(), tail in any::<[u8; 2]>()) {
        let (mut key_a, mut key_b) = (encoded(ty, order, &a), encoded(ty, order, &b));
        let expected = compare::cmp(ty, &a, &b);
        let expected = if order.descending { expected.reverse() } else { expected };
        prop_assert_eq!(key_a.cmp(&key_b), expected);
        // What follows in a key does not change the order.
        key_a.push(tail[0]);
        key_b.push(tail[1]);
        if expected.is_ne() {
            prop_assert_eq!(key_a.cmp(&key_b), expected);
        }
    }

    #[test]
    fn keys_read_back((ty, a, b) in of_type(), order in orders()) {
        let mut key = encoded(ty, order, &a);
        key::encode(ty, order, &Datum::Null, &mut key);
        key::encode(ty, order, &b, &mut key);
        let mut rest = key.as_slice();
        for expected in [&a, &Datum::Null, &b] {
            let read = key::decode(ty, order, &mut rest).unwrap();
            prop_assert!(compare::cmp(ty, &read, expected).is_eq());
            if key::is_lossless(ty) {
                prop_assert_eq!(&read, expected);
            }
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn nulls_sort_where_the_order_says((ty, a, _) in of_type(), order in orders()) {
        let (null, value) = (encoded(ty, order, &Datum::Null), encoded(ty, order, &a));
        prop_assert_eq!(null < value, order.nulls_first);
    }

    #[test]
    fn damaged_keys_do_not_panic((ty, a, _) in of_type(), order in orders(), at in any::<usize>(), byte in any::<u8>()) {
        let mut key = encoded(ty, order, &a);
        let at = at % key.len();
        key[at] = byte;
        let _ = key::decode(ty, order, &mut key.as_slice());
        let _ = key::decode(ty, order, &mut &key[..at]);
    }

    #[test]
    fn equal_values_hash_alike((ty, a, b) in of_type()) {
        let hash = |value: &Datum| {
            let mut state = std::hash::DefaultHasher::new();
            compare::hash(ty, value, &mut state);
            std::hash::Hasher::finish(&state)
        };
        if compare::cmp(ty, &a, &b).is_eq() {
            prop_assert_eq!(hash(&a), hash(&b));
        }
    }

    #[test]
    fn binary_reads_back((ty, a, _) in of_type()) {
        let mut out = Vec::new();
        send(ty, &a, &mut out);
        if let Ok(read) = recv(ty, -1, &out) {
            prop_assert_eq!(text(ty, &read), text(ty, &a));
        } else {
            // Random days and microseconds can lie outside the range of dates and timestamps.
            prop_assert!(matches!(ty, oid::DATE | oid::TIMESTAMPTZ));
        }
        if let Some(cut) = out.len().checked_sub(1) {
            let _ = recv(ty, -1, &out[..cut]);
        }
    }

    #[test]
    fn rows_read_back(
        columns in proptest::collection::vec((of_type(), any::<bool>()), 0..12),
        long in prop_oneof![9 => Just(0usize), 1 => 60_000usize..70_000],
    ) {
        let columns = columns.into_iter().filter(|((ty, ..), _)| !matches!(*ty, oid::DATE | oid::TIMESTAMPTZ));
        let mut columns: Vec<(Oid, Datum)> =
            columns.map(|((ty, value, _), null)| (ty, if null { Datum::Null } else { value })).collect();
        columns.insert(columns.len() / 2, (oid::TEXT, Datum::text("x".repeat(long))));
        let values: Vec<Datum> = columns.iter().map(|(_, value)| value.clone()).collect();
        let mut bytes = vec![7; 3];
        row::encode(&values, &mut bytes);
        let view = RowView::new(&bytes[3..]).unwrap();
        prop_assert_eq!(view.column_count(), columns.len());
        let env = IoEnv::default();
        let mut copy = Vec::new();
        let mut writer = RowWriter::new(&mut copy, columns.len());
        for (index, (ty, value)) in columns.iter().enumerate() {
            prop_assert_eq!(text(*ty, &view.datum(index, *ty).unwrap()), text(*ty, value));
            let mut out = Vec::new();
            prop_assert_eq!(row::text_of_column(&view, index, *ty, &env, &mut out).unwrap(), !value.is_null());
            prop_assert_eq!(String::from_utf8_lossy(&out).into_owned(), text(*ty, value));
            writer.push_stored(view.column(index).unwrap());
        }
        writer.finish();
        prop_assert_eq!(&copy, &bytes[3..]);
        prop_assert!(view.datum(columns.len(), oid::INT4).unwrap().is_null());
    }

    #[test]
    fn damaged_rows_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), fix in any::<bool>()) {
        let mut bytes = bytes;
        if fix && bytes.len() > 4 {
            let flags = bytes[1] & 1;
            bytes[..4].copy_from_slice(&[1, flags, 3, 0]);
        }
        if let Ok(view) = RowView::new(&bytes) {
            for index in 0..view.column_count().min(8) {
                let _ = view.column(index);
                let _ = view.datum(index, oid::NUMERIC);
                let _ = view.datum(index, oid::TEXT_ARRAY);
            }
        }
    }
}

#[test]
fn prefix_ends() {
    assert_eq!(key::prefix_end(&[1, 2]), Some(vec![1, 3]));
    assert_eq!(key::prefix_end(&[1, 0xFF]), Some(vec![2]));
    assert_eq!(key::prefix_end(&[0xFF]), None);
}
