//! The hash functions of PostgreSQL's hash operator classes that people call by name: `hashtext` and its kin.
//!
//! After Bob Jenkins, "lookup3.c" (public domain), in the form that PostgreSQL uses: results agree with it, because
//! they end up in advisory lock keys and partitioning schemes.

use shardforge_types::{Datum, PgResult};

use super::args::Args;
use super::registry::KernelTable;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("hashint2", |a, _, _| word(i64::from(a.int2(0)?) as u32)),
    ("hashint4", |a, _, _| word(a.int4(0)? as u32)),
    ("hashint8", |a, _, _| {
        let value = a.int8(0)?;
        let (high, low) = ((value >> 32) as u32, value as u32);
        word(low ^ if value >= 0 { high } else { !high })
    }),
    ("hashoid", |a, _, _| word(a.oid(0)?)),
    ("hashchar", |a, _, _| word(i64::from(a.char(0)? as i8) as u32)),
    ("hashtext", |a, _, _| bytes(a.text(0)?.as_bytes())),
    ("hashname", |a, _, _| bytes(a.text(0)?.as_bytes())),
    ("hashbpchar", |a, _, _| bytes(a.blanks_cut(0)?.as_bytes())),
    ("hashvarlena", |a, _, _| bytes(a.bytea(0)?)),
    ("uuid_hash", |a, _, _| bytes(&a.uuid(0)?)),
    ("hashtextextended", |a, _, _| Ok(Datum::Int8(hash_bytes_extended(a.text(0)?.as_bytes(), a.int8(1)? as u64) as i64))),
];

fn word(value: u32) -> PgResult<Datum> {
    let start = START.wrapping_add(4);
    let (mut a, mut b, mut c) = (start.wrapping_add(value), start, start);
    finish(&mut a, &mut b, &mut c);
    Ok(Datum::Int4(c as i32))
}

fn bytes(value: &[u8]) -> PgResult<Datum> {
    Ok(Datum::Int4(hash_bytes(value, None).1 as i32))
}

const START: u32 = 0x9e37_79b9 + 3_923_095;

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
    *b = b.wrapping_add(*a);
    *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
    *b = b.wrapping_add(*a);
}

fn finish(a: &mut u32, b: &mut u32, c: &mut u32) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

/// The last two words of the state after all bytes went in.
fn hash_bytes(value: &[u8], seed: Option<u64>) -> (u32, u32) {
    let start = START.wrapping_add(value.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    if let Some(seed) = seed.filter(|seed| *seed != 0) {
        a = a.wrapping_add((seed >> 32) as u32);
        b = b.wrapping_add(seed as u32);
        mix(&mut a, &mut b, &mut c);
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    let (chunks, tail) = value.as_chunks::<12>();
    for chunk in chunks {
        a = a.wrapping_add(word(&chunk[..4]));
        b = b.wrapping_add(word(&chunk[4..8]));
        c = c.wrapping_add(word(&chunk[8..]));
        mix(&mut a, &mut b, &mut c);
    }
    let part =
        |from: usize, to: usize| word(tail.get(from.min(tail.len())..to.min(tail.len())).unwrap_or(&[]));
    a = a.wrapping_add(part(0, 4));
    b = b.wrapping_add(part(4, 8));
    // The lowest byte of c is the length's.
    c = c.wrapping_add(part(8, 12) << 8);
    finish(&mut a, &mut b, &mut c);
    (b, c)
}

fn hash_bytes_extended(value: &[u8], seed: u64) -> u64 {
    let (b, c) = hash_bytes(value, Some(seed));
    u64::from(b) << 32 | u64::from(c)
}
