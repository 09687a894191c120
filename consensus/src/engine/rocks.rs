//! The RocksDB engine.
//!
//! ```text
//!   raftdb   every write is synced; the write-ahead log is the point of it
//!   kvdb     no write-ahead log: a write is in the memtable until the next flush, and the raft log can
//!            repeat it; one column family, because two would lose each other's data in a crash between
//!            their flushes
//! ```
//!
//! Point reads go through [`RocksEngine::seek_first`], which keeps iterators between calls: making one costs
//! more than the seek itself. Kept iterators hold on to memtables and files that are otherwise gone, so the
//! pool is small and emptied at each flush.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rocksdb::{
    BlockBasedOptions, Cache, CompactOptions, DB, DBCompressionType, DBRawIterator, FlushOptions, LogLevel,
    Options, Range, ReadOptions, SliceTransform, WriteOptions, properties,
};

use super::rocks_staging::{RocksPin, RocksStaging};
use super::{
    Cursor, CursorOptions, Durability, Engine, EngineStats, Keep, Operation, Pinned, SharedFilter, Staging,
    Value, WriteBatch,
};
use crate::error::{ConsensusError, Result};
use crate::types::KeyRange;

/// Iterators kept between calls; more threads than this rarely read at the same moment.
const ITERATORS_KEPT_MAX: usize = 8;

/// How a [`RocksEngine`] is set up.
pub(crate) struct RocksOptions {
    /// Blocks of files kept in memory; engines may share one.
    pub cache: Cache,
    /// Size of one memtable; twice this may be in memory while one is written out.
    pub memtable_bytes: usize,
    /// Whether writes are buffered only: no write-ahead log is kept.
    pub without_wal: bool,
    pub filter: Option<SharedFilter>,
    pub version_suffix_bytes: Option<usize>,
}

/// An ordered map in a directory; see the module's essay.
pub(crate) struct RocksEngine {
    // Iterators point into the database: this field is dropped first because it is declared first.
    iterators: Mutex<Vec<DBRawIterator<'static>>>,
    pub(super) db: DB,
    pub(super) options: Options,
    /// Where files lie that are to be ingested.
    staging: PathBuf,
    staged: AtomicU64,
    buffered: WriteOptions,
    synced: WriteOptions,
    cache: Cache,
    grouped: bool,
}

pub(super) fn engine_error(error: rocksdb::Error) -> ConsensusError {
    let message = error.into_string();
    if message.contains("No space left on device") || message.contains("NoSpace") {
        return ConsensusError::DiskFull;
    }
    if message.starts_with("Corruption") {
        return ConsensusError::Corrupt(message);
    }
    ConsensusError::Storage(message)
}

/// The part of a key that its versions share: all but a suffix of `N` bytes.
fn without_suffix<const N: usize>(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(N)]
}

/// The extractor takes no parameters, so there is one function for each length that makes sense.
fn suffix_transform(length: usize) -> Option<SliceTransform> {
    let transform: fn(&[u8]) -> &[u8] = match length {
        8 => without_suffix::<8>,
        9 => without_suffix::<9>,
        10 => without_suffix::<10>,
        12 => without_suffix::<12>,
        16 => without_suffix::<16>,
        _ => return None,
    };
    Some(SliceTransform::create(&format!("shardforge.version-suffix.{length}"), transform, None))
}

fn database_options(options: &RocksOptions) -> Result<Options> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&options.cache);
    table.set_bloom_filter(10.0, false);
    // Whole, one of each a file: in partitions they cost a point read a seventh more. Files are small for that,
    // so that what a read has to bring into the cache first is at most some hundred kilobytes.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Small enough that a point read which misses the cache does not decompress much for one row.
    table.set_block_size(8 << 10);
    table.set_format_version(6);

    let mut database = Options::default();
    database.create_if_missing(true);
    database.set_block_based_table_factory(&table);
    database.set_write_buffer_size(options.memtable_bytes);
    database.set_max_write_buffer_number(3);
    database.set_max_background_jobs(2);
    database.set_target_file_size_base(16 << 20);
    database.set_max_open_files(512);
    database.set_level_compaction_dynamic_level_bytes(true);
    database.set_bytes_per_sync(1 << 20);
    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(4 << 20);
    database.set_stats_dump_period_sec(0);
    database.set_skip_stats_update_on_db_open(true);
    if options.without_wal {
        database.set_compression_type(DBCompressionType::Lz4);
        database.set_memtable_whole_key_filtering(true);
        database.set_memtable_prefix_bloom_ratio(0.05);
        // A point read looks into each file of level 0, so few of them are let gather: with two, it takes a fifth
        // less time after a bulk load than with RocksDB's four.
        database.set_level_zero_file_num_compaction_trigger(2);
    } else {
        // What gets into a file here goes again with the next purge.
        database.set_compression_type(DBCompressionType::None);
        // A log file that is used again has its blocks already: a sync then writes data only.
        database.set_recycle_log_file_num(2);
        database.set_max_total_wal_size(256 << 20);
    }
    if let Some(filter) = options.filter.clone() {
        database.set_compaction_filter("shardforge.versions", move |_level, key, value| {
            match filter.keep(key, value) {
                Keep::Yes => rocksdb::CompactionDecision::Keep,
                Keep::No => rocksdb::CompactionDecision::Remove,
            }
        });
    }
    if let Some(length) = options.version_suffix_bytes {
        let transform = suffix_transform(length).ok_or_else(|| {
            ConsensusError::Storage(format!("no version suffix of {length} bytes is supported"))
        })?;
        database.set_prefix_extractor(transform);
    }
    Ok(database)
}

impl RocksEngine {
    pub(crate) fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        let database = database_options(options)?;
        let db = DB::open(&database, path).map_err(|error| match engine_error(error) {
            ConsensusError::DiskFull => ConsensusError::DiskFull,
            other => ConsensusError::Directory { path: path.to_owned(), problem: other.to_string() },
        })?;
        let staging = path.with_extension("incoming");
        if staging.exists() {
            // What was staged when the process ended is nobody's.
            std::fs::remove_dir_all(&staging)?;
        }
        let mut buffered = WriteOptions::default();
        buffered.disable_wal(options.without_wal);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self {
            iterators: Mutex::default(),
            db,
            options: database,
            staging,
            staged: AtomicU64::new(0),
            buffered,
            synced,
            cache: options.cache.clone(),
            grouped: options.version_suffix_bytes.is_some(),
        })
    }

    fn new_iterator(&self) -> DBRawIterator<'static> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(self.grouped);
        options.set_auto_readahead_size(false);
        let iterator = self.db.raw_iterator_opt(options);
        // SAFETY: the iterator borrows `self.db`. It never leaves this struct but within `seek_first`, which
        // borrows `self`, and the pool is dropped before the database.
        unsafe { std::mem::transmute::<DBRawIterator<'_>, DBRawIterator<'static>>(iterator) }
    }

    fn take_iterator(&self) -> Result<DBRawIterator<'static>> {
        let kept = self.iterators.lock().pop();
        match kept {
            Some(mut iterator) => {
                iterator.refresh().map_err(engine_error)?;
                Ok(iterator)
            }
            None => Ok(self.new_iterator()),
        }
    }

    /// A path for one more staged file.
    pub(super) fn staged_path(&self) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.staging)?;
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        Ok(self.staging.join(format!("{number}.sst")))
    }

    pub(super) fn forget_iterators(&self) {
        let kept = std::mem::take(&mut *self.iterators.lock());
        drop(kept);
    }

    fn property(&self, name: &rocksdb::properties::PropName) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

impl Engine for RocksEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Ok(self.db.get_pinned(key).map_err(engine_error)?.map(Value::Pinned))
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn seek_first(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let mut iterator = self.take_iterator()?;
        iterator.seek(from);
        match iterator.item() {
            Some((key, value)) if key < to => visit(key, value),
            Some(_) => {}
            None => iterator.status().map_err(engine_error)?,
        }
        let mut kept = self.iterators.lock();
        if kept.len() < ITERATORS_KEPT_MAX {
            kept.push(iterator);
        }
        Ok(())
    }

    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        Ok(Box::new(RocksCursor::new(self.db.raw_iterator_opt(bounded(options)))))
    }

    fn write(&self, batch: &WriteBatch, durability: Durability) -> Result<()> {
        let mut write =
            rocksdb::WriteBatch::with_capacity_bytes(batch.size_bytes() + 16 * batch.operations().len());
        for operation in batch.operations() {
            match operation {
                Operation::Put(key, value) => write.put(key, value),
                Operation::Delete(key) => write.delete(key),
                Operation::DeleteRange(start, end) => {
                    if start < end {
                        write.delete_range(start, end);
                    }
                }
            }
        }
        let options = match durability {
            Durability::Synced => &self.synced,
            Durability::Buffered => &self.buffered,
        };
        self.db.write_opt(write, options).map_err(engine_error)
    }

    fn flush(&self) -> Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.db.flush_opt(&options).map_err(engine_error);
        self.forget_iterators();
        flushed
    }

    fn compact(&self, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::ForceOptimized);
        self.db.compact_range_opt(Some(start), end, &options);
        self.forget_iterators();
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            keys: self.property(properties::ESTIMATE_NUM_KEYS),
            disk_bytes: self.property(properties::TOTAL_SST_FILES_SIZE),
            memory_bytes: self.property(properties::SIZE_ALL_MEM_TABLES) + self.cache.get_usage() as u64,
            write_stopped: self.property(properties::IS_WRITE_STOPPED) != 0,
            compaction_pending_bytes: self.property(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        }
    }

    fn size_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.db.get_approximate_sizes(&[Range::new(start, end)]).first().copied().unwrap_or_default()
    }

    fn pin(self: Arc<Self>) -> Box<dyn Pinned> {
        Box::new(RocksPin::new(self))
    }

    fn stage(self: Arc<Self>, ranges: Vec<KeyRange>) -> Result<Box<dyn Staging>> {
        Ok(Box::new(RocksStaging::new(self, ranges)))
    }
}

/// How an iterator reads that is to show what the options say.
pub(super) fn bounded(options: &CursorOptions) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_total_order_seek(true);
    if let Some(lower) = &options.lower {
        read.set_iterate_lower_bound(lower.to_vec());
    }
    if let Some(upper) = &options.upper {
        read.set_iterate_upper_bound(upper.to_vec());
    }
    if options.bulk {
        read.fill_cache(false);
        read.set_readahead_size(1 << 20);
    }
    read
}

pub(super) struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
}

impl<'a> RocksCursor<'a> {
    pub(super) fn new(iterator: DBRawIterator<'a>) -> Self {
        Self { iterator }
    }
}

impl RocksCursor<'_> {
    /// Whether the last move arrived, or why not.
    fn arrived(&self) -> Result<bool> {
        if self.iterator.valid() {
            return Ok(true);
        }
        self.iterator.status().map_err(engine_error)?;
        Ok(false)
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.iterator.seek(key);
        self.arrived()
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool> {
        self.iterator.seek_for_prev(key);
        self.arrived()
    }

    fn seek_to_first(&mut self) -> Result<bool> {
        self.iterator.seek_to_first();
        self.arrived()
    }

    fn seek_to_last(&mut self) -> Result<bool> {
        self.iterator.seek_to_last();
        self.arrived()
    }

    fn next(&mut self) -> Result<bool> {
        if !self.iterator.valid() {
            return Ok(false);
        }
        self.iterator.next();
        self.arrived()
    }

    fn prev(&mut self) -> Result<bool> {
        if !self.iterator.valid() {
            return Ok(false);
        }
        self.iterator.prev();
        self.arrived()
    }

    fn valid(&self) -> bool {
        self.iterator.valid()
    }

    fn key(&self) -> &[u8] {
        self.iterator.key().unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.iterator.value().unwrap_or_default()
    }
}

/// A block cache of about `capacity_bytes` that both engines of a node share.
pub(crate) fn block_cache(capacity_bytes: usize) -> Cache {
    // Of all sizes of entries; readers take no lock in it.
    Cache::new_hyper_clock_cache(capacity_bytes, 0)
}

/// An engine as it is handed around.
pub(crate) fn open_shared(path: &Path, options: &RocksOptions) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(RocksEngine::open(path, options)?))
}
