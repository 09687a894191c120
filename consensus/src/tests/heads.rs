//! The cache of heads: the same answers as the engine behind it, whatever is written and when.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::heads::HeadCache;
use crate::engine::{Cursor, CursorOptions, EngineStats, Value};
use crate::error::Result;
use crate::{Durability, Engine, KeyRange, MemoryEngine, Pinned, Staging, WriteBatch};

const SUFFIX_BYTES: usize = 8;

fn version(group: &str, suffix: u64) -> Vec<u8> {
    [group.as_bytes(), &suffix.to_be_bytes()].concat()
}

/// The first version of a group from `suffix` on.
fn first(engine: &dyn Engine, group: &str, suffix: u64) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut found = None;
    engine
        .seek_first(&version(group, suffix), &version(group, u64::MAX), &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
        })
        .unwrap();
    found
}

#[test]
fn answers_are_those_of_the_engine() {
    for capacity_bytes in [1 << 20, 2_000] {
        let plain = MemoryEngine::default();
        let cached = HeadCache::new(Arc::new(MemoryEngine::default()), SUFFIX_BYTES, capacity_bytes).unwrap();
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..20_000 {
            let group = format!("g{:02}", next(40));
            if next(3) == 0 {
                let mut batch = WriteBatch::new();
                for _ in 0..next(4) {
                    let key = version(&format!("g{:02}", next(40)), next(6));
                    match next(20) {
                        0..12 => batch.put(key, format!("{round}")),
                        12..19 => batch.delete(key),
                        _ => batch.delete_range(key, version(&format!("g{:02}", next(40)), next(6))),
                    }
                }
                plain.write(&batch, Durability::Buffered).unwrap();
                cached.write(&batch, Durability::Buffered).unwrap();
            }
            let suffix = next(7);
            assert_eq!(
                first(&cached, &group, suffix),
                first(&plain, &group, suffix),
                "round {round}, {group} from {suffix}"
            );
        }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// An engine that does something once, after it has found a pair and before it returns it.
#[derive(Default)]
struct Interrupted {
    engine: Arc<MemoryEngine>,
    hook: Mutex<Option<Hook>>,
}

impl Engine for Interrupted {
    fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.engine.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        self.engine.multi_get(keys)
    }

    fn seek_first(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let mut found = None;
        self.engine.seek_first(from, to, &mut |key, value| found = Some((key.to_vec(), value.to_vec())))?;
        let hook = self.hook.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        if let Some((key, value)) = found {
            visit(&key, &value);
        }
        Ok(())
    }

    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        self.engine.cursor(options)
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        self.engine.write(batch, durability)
    }

    fn flush(&self) -> Result<()> {
        self.engine.flush()
    }

    fn compact(&self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        self.engine.compact(start, end)
    }

    fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.engine.size_bytes(start, end)
    }

    fn pin(self: Arc<Self>) -> Box<dyn Pinned> {
        Arc::clone(&self.engine).pin()
    }

    fn stage(self: Arc<Self>, ranges: Vec<KeyRange>) -> Result<Box<dyn Staging>> {
        Arc::clone(&self.engine).stage(ranges)
    }
}

/// Reads a group's head while `write` changes it, and returns what readers see afterwards.
fn after_a_write_during_a_fetch(write: fn(&mut WriteBatch)) -> Option<Vec<u8>> {
    let engine = Arc::new(Interrupted::default());
    let cached = Arc::new(HeadCache::new(engine.clone(), SUFFIX_BYTES, 1 << 20).unwrap());
    let mut batch = WriteBatch::new();
    batch.put(version("row", 5), "old");
    batch.put(version("row", 6), "older");
    cached.write(&batch, Durability::Buffered).unwrap();

    let writer = cached.clone();
    *engine.hook.lock() = Some(Box::new(move || {
        let mut batch = WriteBatch::new();
        write(&mut batch);
        writer.write(&batch, Durability::Buffered).unwrap();
    }));
    // The reader began before the write did, and may see either state.
    assert_eq!(first(&*cached, "row", 0).unwrap().1, b"old");
    first(&*cached, "row", 0).map(|(_, value)| value)
}

#[test]
fn a_head_that_was_written_while_it_was_fetched_is_not_kept() {
    let newer = after_a_write_during_a_fetch(|batch| batch.put(version("row", 4), "new"));
    assert_eq!(newer.unwrap(), b"new");
    let replaced = after_a_write_during_a_fetch(|batch| batch.put(version("row", 5), "replaced"));
    assert_eq!(replaced.unwrap(), b"replaced");
    let deleted = after_a_write_during_a_fetch(|batch| batch.delete(version("row", 5)));
    assert_eq!(deleted.unwrap(), b"older");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the other thread belongs to the test, not to a node")]
fn a_range_delete_waits_for_fetches_and_takes_out_what_they_kept() {
    let engine = Arc::new(Interrupted::default());
    let cached = Arc::new(HeadCache::new(engine.clone(), SUFFIX_BYTES, 1 << 20).unwrap());
    let mut batch = WriteBatch::new();
    batch.put(version("row", 5), "old");
    batch.put(version("sow", 5), "stays");
    cached.write(&batch, Durability::Buffered).unwrap();
    assert!(first(&*cached, "sow", 0).is_some());

    let (writer, behind) = (cached.clone(), engine.clone());
    let deleting = Arc::new(Mutex::new(None));
    let started = deleting.clone();
    *engine.hook.lock() = Some(Box::new(move || {
        let thread = std::thread::spawn(move || {
            let mut batch = WriteBatch::new();
            batch.delete_range(version("row", 0), version("row", u64::MAX));
            writer.write(&batch, Durability::Buffered).unwrap();
        });
        // The engine has deleted; the cache's part follows once this fetch has ended.
        while first(&*behind.engine, "row", 0).is_some() {
            std::thread::yield_now();
        }
        *started.lock() = Some(thread);
    }));
    assert_eq!(first(&*cached, "row", 0).unwrap().1, b"old");
    let thread = deleting.lock().take().unwrap();
    thread.join().unwrap();
    assert_eq!(first(&*cached, "row", 0), None);
    assert_eq!(first(&*cached, "sow", 0).unwrap().1, b"stays");
}
