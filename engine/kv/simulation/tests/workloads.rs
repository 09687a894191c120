//! What clients do.
//!
//! | workload | a transaction | what must hold, beside the oracle and the histories |
//! |---|---|---|
//! | lists | appends to lists, reads lists | a history of appends without a forbidden cycle |
//! | registers | overwrites registers, reads them | the same of reads and writes |
//! | predicates | scans tables, inserts and updates rows | the same; a row that is not there is a read of nothing |
//! | bank | moves money; closes empty accounts | the sum at one snapshot |
//! | monotonic | counts up | whoever looks sees at least what was acknowledged |
//! | long fork | writes one key, or reads all of a group | readers agree on the order |
//! | unique keys | inserts a key if it is not there | one transaction at most succeeds |
//! | index | changes rows and their index entries | rows and entries at one snapshot say the same |
//! | families | inserts children of parents, deletes parents without children | no child without its parent |
//! | turnstile | locks an object, as a table is locked | who is alone is alone |
//! | sequence | takes values | no value comes twice, over restarts either |
//! | audit | scans everything | |
//!
//! Any of them may make a detour: a savepoint, some writes, and back.

use std::ops::Range;

use bytes::Bytes;
use shardforge_simulation::{KvError, LockStrength, ObjectId, ObjectLockMode, SequenceOptions};

use crate::recorder::{Client, Outcome, Step, Txn, TxnLog, prefixed};
use crate::run::{Run, Workload};

const ACCOUNTS: u64 = 5;
const BALANCE: i64 = 20;
const TABLE_ROWS: u64 = 4;
const FORK_KEYS: u64 = 3;
const INDEXED_ROWS: u64 = 5;
const PARENTS: u64 = 3;

fn everything() -> Range<Bytes> {
    Bytes::from_static(b" ")..Bytes::from_static(b"\x7f")
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).expect("the workloads write text")
}

fn number(value: &[u8]) -> u64 {
    text(value).parse().expect("the workloads write numbers")
}

/// A key at which a shard may be split: at the border of two workloads, or in the midst of one.
pub fn some_key(client: &Client) -> String {
    let kinds = ["b", "c", "f", "g", "h", "i", "l", "p", "r", "t", "u", "x", "~"];
    let kind = kinds[client.below(kinds.len() as u64) as usize];
    format!("{kind}/{}", client.below(4))
}

/// The rows that workloads begin with.
pub async fn fill(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Bank);
    txn.statement();
    for account in 0..ACCOUNTS {
        txn.put(&format!("b/{account}"), BALANCE.to_string());
    }
    txn.commit().await
}

/// Scans everything, and checks what can be checked at one snapshot.
pub async fn audit(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Audit);
    txn.statement();
    txn.scan(client, everything()).await?;
    check_bank(client, &mut txn).await?;
    check_index(client, &mut txn).await?;
    check_families(client, &mut txn).await?;
    txn.commit().await
}

/// One transaction of some workload.
pub async fn transaction(client: &Client) -> Result<(), KvError> {
    match client.below(100) {
        0..20 => lists(client).await,
        20..35 => registers(client).await,
        35..50 => predicates(client).await,
        50..62 => bank(client).await,
        62..68 => monotonic(client).await,
        68..74 => long_fork(client).await,
        74..80 => unique_keys(client).await,
        80..86 => index(client).await,
        86..92 => families(client).await,
        // Whoever holds an object in a store that serves no more is not kept from going on, outside of it.
        92..95 if client.run.plan.nodes == 1 => turnstile(client).await,
        95..98 => sequence(client).await,
        _ => audit(client).await,
    }
}

async fn lists(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Lists);
    for _ in 0..=client.below(4) {
        txn.statement();
        let key = format!("l/{}.{}", client.run.round(), client.below(3));
        if client.chance(50) {
            let found = if client.chance(20) {
                txn.lock(client, &key, LockStrength::Share, client.policy()).await?
            } else {
                txn.get(&key).await?
            };
            txn.step(Step::ReadList(key, elements(found.as_deref())));
        } else {
            let found = txn.lock(client, &key, LockStrength::NoKeyUpdate, client.policy()).await?;
            let element = client.run.fresh();
            let list = match &found {
                Some(list) => format!("{} {element}", text(list)),
                None => element.to_string(),
            };
            txn.put(&key, list);
            txn.step(Step::Append(key, element));
        }
        detour(client, &mut txn).await?;
        client.pause(400).await;
    }
    txn.commit().await
}

fn elements(list: Option<&[u8]>) -> Vec<u64> {
    list.map_or(Vec::new(), |list| text(list).split(' ').map(|element| number(element.as_bytes())).collect())
}

async fn registers(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Registers);
    for _ in 0..=client.below(4) {
        txn.statement();
        let key = format!("r/{}.{}", client.run.round(), client.below(3));
        if client.chance(55) {
            let found = txn.get(&key).await?;
            txn.step(Step::Read(key, found.as_deref().map(number)));
        } else {
            txn.lock(client, &key, LockStrength::Update, client.policy()).await?;
            let value = client.run.fresh();
            txn.put(&key, value.to_string());
            txn.step(Step::Write(key, value));
        }
        detour(client, &mut txn).await?;
        client.pause(400).await;
    }
    txn.commit().await
}

async fn predicates(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Predicates);
    for _ in 0..=client.below(3) {
        txn.statement();
        let table = format!("p/{}.{}/", client.run.round() * 2 + client.below(2), client.below(2));
        if client.chance(55) {
            let rows = txn.scan(client, prefixed(&table)).await?;
            // A read of every row that could be there.
            for row in 0..TABLE_ROWS {
                let key = format!("{table}{row}");
                let found = rows.iter().find(|(found, _)| **found == *key.as_bytes());
                txn.step(Step::Read(key, found.map(|(_, value)| number(value))));
            }
        } else {
            let key = format!("{table}{}", client.below(TABLE_ROWS));
            txn.lock(client, &key, LockStrength::Update, client.policy()).await?;
            let value = client.run.fresh();
            txn.put(&key, value.to_string());
            txn.step(Step::Write(key, value));
        }
        detour(client, &mut txn).await?;
        client.pause(400).await;
    }
    txn.commit().await
}

async fn bank(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Bank);
    txn.statement();
    if client.chance(30) {
        let first = check_bank(client, &mut txn).await?;
        let held = txn.hold();
        client.pause(3_000).await;
        txn.statement();
        let again = txn.scan_at(client, prefixed("b/"), &held).await?;
        client.run.check(first == again, || format!("a held snapshot moved from {first:?} to {again:?}"));
        return txn.commit().await;
    }
    let (from, to) = (client.below(ACCOUNTS), client.below(ACCOUNTS));
    let amount = 1 + client.below(8) as i64;
    let balance = change(client, &mut txn, from, -amount).await?;
    if balance < 0 {
        return txn.rollback().await;
    }
    detour(client, &mut txn).await?;
    client.pause(600).await;
    txn.statement();
    change(client, &mut txn, to, amount).await?;
    txn.commit().await
}

async fn change(client: &Client, txn: &mut Txn, account: u64, by: i64) -> Result<i64, KvError> {
    let key = format!("b/{account}");
    let found = txn.lock(client, &key, LockStrength::Update, client.policy()).await?;
    let balance = found.map_or(0, |found| number(&found) as i64) + by;
    match balance {
        0 => txn.delete(&key),
        1.. => txn.put(&key, balance.to_string()),
        _ => {}
    }
    Ok(balance)
}

async fn check_bank(client: &Client, txn: &mut Txn) -> Result<Vec<(Bytes, Bytes)>, KvError> {
    let rows = txn.scan(client, prefixed("b/")).await?;
    let sum: u64 = rows.iter().map(|(_, value)| number(value)).sum();
    let expected = ACCOUNTS * BALANCE as u64;
    client.run.check(sum == expected, || format!("the bank has {sum} and not {expected}: {rows:?}"));
    Ok(rows)
}

async fn monotonic(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Monotonic);
    let floor = client.run.notes.lock().counter;
    txn.statement();
    if client.chance(50) {
        let found = txn.get("c").await?.map_or(0, |value| number(&value));
        client.run.check(found >= floor, || format!("the counter was {floor}, and is {found} later"));
        return txn.commit().await;
    }
    let found = txn.lock(client, "c", LockStrength::NoKeyUpdate, client.policy()).await?;
    let next = found.map_or(0, |value| number(&value)) + 1;
    txn.put("c", next.to_string());
    detour(client, &mut txn).await?;
    txn.commit().await?;
    let mut notes = client.run.notes.lock();
    notes.counter = notes.counter.max(next);
    Ok(())
}

async fn long_fork(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::LongFork);
    let group = format!("f/{}.{}", client.run.round(), client.below(3));
    txn.statement();
    if client.chance(40) {
        let key = format!("{group}/{}", client.below(FORK_KEYS));
        if txn.lock(client, &key, LockStrength::Update, client.policy()).await?.is_none() {
            txn.put(&key, "1");
        }
        return txn.commit().await;
    }
    let mut seen = 0_u8;
    for key in 0..FORK_KEYS {
        if txn.get(&format!("{group}/{key}")).await?.is_some() {
            seen |= 1 << key;
        }
        client.pause(100).await;
    }
    client.run.notes.lock().forks.entry(group).or_default().insert(seen);
    txn.commit().await
}

async fn unique_keys(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::UniqueKeys);
    txn.statement();
    let key = format!("u/{}.{}", client.run.round(), client.below(4));
    if txn.lock(client, &key, LockStrength::Update, client.policy()).await?.is_some() {
        return txn.rollback().await;
    }
    txn.put(&key, txn.id().to_string());
    client.run.notes.lock().inserted.entry(key).or_default().push(txn.id());
    detour(client, &mut txn).await?;
    txn.commit().await
}

async fn index(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Index);
    for _ in 0..=client.below(2) {
        txn.statement();
        if client.chance(30) {
            check_index(client, &mut txn).await?;
            continue;
        }
        let row = client.below(INDEXED_ROWS);
        let key = format!("t/{row}");
        let found = txn.lock(client, &key, LockStrength::Update, client.policy()).await?;
        if let Some(group) = &found {
            txn.delete(&format!("i/{}/{row}", text(group)));
        }
        if found.is_some() && client.chance(30) {
            txn.delete(&key);
        } else {
            let group = client.below(4);
            txn.put(&key, group.to_string());
            txn.put(&format!("i/{group}/{row}"), "");
        }
        detour(client, &mut txn).await?;
        client.pause(300).await;
    }
    txn.commit().await
}

async fn check_index(client: &Client, txn: &mut Txn) -> Result<(), KvError> {
    let rows = txn.scan(client, prefixed("t/")).await?;
    let entries = txn.scan(client, prefixed("i/")).await?;
    let mut expected: Vec<_> =
        rows.iter().map(|(key, group)| format!("i/{}/{}", text(group), &text(key)[2..])).collect();
    expected.sort();
    let found: Vec<_> = entries.iter().map(|(key, _)| text(key).to_owned()).collect();
    client.run.check(expected == found, || format!("the rows want {expected:?}, the index has {found:?}"));
    Ok(())
}

/// Parents and children, guarded as PostgreSQL guards foreign keys: who inserts a child holds its parent's key, and who
/// deletes a parent looks for children as they are now, whatever the snapshot.
async fn families(client: &Client) -> Result<(), KvError> {
    let mut txn = client.begin(Workload::Families);
    txn.statement();
    let number = client.below(PARENTS);
    let (parent, children) = (format!("g/{number}"), format!("h/{number}/"));
    match client.below(10) {
        0..5 => {
            let found = txn.lock(client, &parent, LockStrength::KeyShare, client.policy()).await?;
            if found.is_some() {
                txn.put(&format!("{children}{}", client.run.fresh()), "");
            }
        }
        5..7 => {
            let found = txn.lock(client, &parent, LockStrength::Update, client.policy()).await?;
            if found.is_some() && txn.is_empty_now(prefixed(&children)).await? {
                txn.delete(&parent);
            }
        }
        7..9 => {
            // An update that leaves the key alone is in nobody's way; what makes a key is.
            let strength = if client.chance(60) { LockStrength::NoKeyUpdate } else { LockStrength::Update };
            let found = txn.lock(client, &parent, strength, client.policy()).await?;
            if found.is_some() || strength == LockStrength::Update {
                txn.put(&parent, client.run.fresh().to_string());
            }
        }
        _ => {
            check_families(client, &mut txn).await?;
            for (child, _) in txn.scan(client, prefixed(&children)).await? {
                txn.lock(client, text(&child), LockStrength::Update, client.policy()).await?;
                txn.delete(text(&child));
            }
        }
    }
    detour(client, &mut txn).await?;
    client.pause(500).await;
    txn.commit().await
}

async fn check_families(client: &Client, txn: &mut Txn) -> Result<(), KvError> {
    let parents = txn.scan(client, prefixed("g/")).await?;
    let children = txn.scan(client, prefixed("h/")).await?;
    let orphan = children.iter().find(|(child, _)| {
        let parent = format!("g/{}", &text(child)[2..3]);
        !parents.iter().any(|(key, _)| **key == *parent.as_bytes())
    });
    client.run.check(orphan.is_none(), || format!("{orphan:?} has no parent among {parents:?}"));
    Ok(())
}

/// Leaves when the client does, however that happens.
struct Inside<'a> {
    run: &'a Run,
    gate: u64,
}

impl<'a> Inside<'a> {
    fn enter(run: &'a Run, gate: u64, alone: bool) -> Self {
        let (count, was_alone) = *run.notes.lock().inside.get(&gate).unwrap_or(&(0, false));
        run.check(count == 0 || !(alone || was_alone), || {
            format!("{count} clients were behind turnstile {gate} (alone: {was_alone}), one more came (alone: {alone})")
        });
        run.notes.lock().inside.insert(gate, (count + 1, alone));
        Self { run, gate }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some((count, _)) = self.run.notes.lock().inside.get_mut(&self.gate) {
            *count = count.saturating_sub(1);
        }
    }
}

async fn turnstile(client: &Client) -> Result<(), KvError> {
    let txn = client.begin(Workload::Turnstile);
    let gate = client.below(2);
    let alone = client.chance(60);
    let mode = if alone { ObjectLockMode::Exclusive } else { ObjectLockMode::Share };
    txn.inner().lock_object(ObjectId { class: 1, kind: 0, id: gate }, mode, client.policy()).await?;
    let inside = Inside::enter(&client.run, gate, alone);
    client.pause(2_000).await;
    drop(inside);
    txn.commit().await
}

async fn sequence(client: &Client) -> Result<(), KvError> {
    let options = SequenceOptions { start: 1, increment: 1, min: 1, max: i64::MAX, cycle: false };
    let range = client.store.next_sequence_values(1, &options, 1 + client.below(40)).await?;
    for value in (range.first..).take(range.count as usize) {
        let first = client.run.notes.lock().sequence.insert(value);
        client.run.check(first, || format!("the sequence gave out {value} twice"));
    }
    Ok(())
}

/// Writes something to rows of nobody's, and mostly takes it back.
async fn detour(client: &Client, txn: &mut Txn) -> Result<(), KvError> {
    if !client.chance(25) {
        return Ok(());
    }
    let mark = txn.savepoint();
    if client.chance(20) {
        txn.statement();
        let keys: Vec<_> = (0..6).map(|row| Bytes::from(format!("x/{row}"))).collect();
        match txn.lock_many(keys, LockStrength::Update, client.policy()).await {
            Ok(()) => (0..6).for_each(|row| txn.put(&format!("x/{row}"), client.run.fresh().to_string())),
            Err(KvError::LockTimeout(_) | KvError::LockNotAvailable(_) | KvError::Deadlock(_)) => {
                return txn.rollback_to(&mark);
            }
            Err(error) => return Err(error),
        }
    }
    for _ in 0..=client.below(3) {
        txn.statement();
        let key = format!("x/{}", client.below(6));
        match txn.lock(client, &key, LockStrength::Update, client.policy()).await {
            Ok(found) if found.is_some() && client.chance(30) => txn.delete(&key),
            Ok(_) => txn.put(&key, client.run.fresh().to_string()),
            // As a statement that fails: all since the savepoint is void, and the transaction goes on.
            Err(KvError::LockTimeout(_) | KvError::LockNotAvailable(_) | KvError::Deadlock(_)) => break,
            Err(error) => return Err(error),
        }
    }
    if client.chance(75) {
        txn.rollback_to(&mark)?;
    }
    if client.chance(50) {
        txn.release(mark)?;
    }
    Ok(())
}

/// What the notes of a run say when it is over.
pub fn violations(run: &Run, log: &[TxnLog]) -> Vec<String> {
    let notes = run.notes.lock();
    let mut found = Vec::new();
    for (group, seen) in &notes.forks {
        let apart =
            seen.iter().any(|one| seen.iter().any(|other| one & other != *one && one & other != *other));
        if apart {
            found.push(format!("readers of {group} do not agree on an order: {seen:?}"));
        }
    }
    let committed = |txn: &&usize| matches!(log[**txn].outcome, Outcome::Committed(_));
    for (key, inserters) in &notes.inserted {
        let winners: Vec<_> = inserters.iter().filter(committed).collect();
        if winners.len() > 1 {
            found.push(format!("{winners:?} all inserted {key}"));
        }
    }
    found
}
