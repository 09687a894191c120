//! Pins and staging areas of the RocksDB engine.
//!
//! ```text
//!   put, put, ...  -->  16 MB of pairs  -->  <engine>.incoming/7.sst: clears its part of the range, and holds the pairs
//!   replace        -->  one ingestion of all these files and of one with the records: RocksDB's manifest takes all or none
//! ```
//!
//! All that a file holds gets one sequence number when it is ingested, newer than everything before; a clearing in it does
//! not hide the pairs beside it. So clearing, content and records become visible in one step, and last when it returns.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, IngestExternalFileOptions, ReadOptions, SnapshotWithThreadMode, SstFileWriter};

use super::replacing::end_of;
use super::rocks::{RocksCursor, RocksEngine, bounded, engine_error};
use super::{Cursor, CursorOptions, Operation, Pinned, Staging, WriteBatch};
use crate::error::{ConsensusError, Result};
use crate::limits::STAGED_FILE_SIZE_BYTES;
use crate::types::KeyRange;

pub(super) struct RocksPin {
    // Points into the engine's database: dropped first because it is declared first.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    _engine: Arc<RocksEngine>,
}

impl RocksPin {
    pub(super) fn new(engine: Arc<RocksEngine>) -> Self {
        let snapshot = engine.db.snapshot();
        // SAFETY: the snapshot borrows the database of an engine that this struct keeps alive, at an address that does
        // not change, and it is dropped before the engine.
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(
                snapshot,
            )
        };
        Self { snapshot, _engine: engine }
    }
}

impl Pinned for RocksPin {
    fn cursor(&self, options: &CursorOptions) -> Result<Box<dyn Cursor + '_>> {
        let read: ReadOptions = bounded(options);
        Ok(Box::new(RocksCursor::new(self.snapshot.raw_iterator_opt(read))))
    }
}

pub(super) struct RocksStaging {
    engine: Arc<RocksEngine>,
    /// The ranges that are not complete yet; what is gathered belongs to the first.
    ranges: VecDeque<KeyRange>,
    /// Where the next file begins in the first range, if not at its start.
    from: Option<Bytes>,
    gathered: WriteBatch,
    files: Vec<PathBuf>,
}

impl RocksStaging {
    pub(super) fn new(engine: Arc<RocksEngine>, ranges: Vec<KeyRange>) -> Self {
        Self { engine, ranges: ranges.into(), from: None, gathered: WriteBatch::new(), files: Vec::new() }
    }

    /// Writes what is gathered to a file that clears the range from where the last one ended to `end`.
    fn write_file(&mut self, start: Bytes, end: Bytes) -> Result<()> {
        let mut content = WriteBatch::new();
        content.delete_range(start, end);
        content.append(std::mem::take(&mut self.gathered));
        self.add_file(content.operations())
    }

    fn add_file(&mut self, operations: &[Operation]) -> Result<()> {
        let path = self.engine.staged_path()?;
        // Before it is there, so that it goes in any case.
        self.files.push(path.clone());
        let mut writer = SstFileWriter::create(&self.engine.options);
        writer.open(&path).map_err(engine_error)?;
        for operation in operations {
            match operation {
                Operation::Put(key, value) => writer.put(key, value),
                Operation::Delete(key) => writer.delete(key),
                Operation::DeleteRange(start, end) => writer.delete_range(start, end),
            }
            .map_err(engine_error)?;
        }
        writer.finish().map_err(engine_error)
    }

    /// Completes the first range.
    fn finish_range(&mut self) -> Result<()> {
        let Some(range) = self.ranges.pop_front() else { return Ok(()) };
        let start = self.from.take().unwrap_or_else(|| range.start.clone());
        self.write_file(start, end_of(&range))
    }
}

impl Staging for RocksStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        while self.ranges.front().is_some_and(|range| !range.contains(key)) {
            self.finish_range()?;
        }
        let Some(range) = self.ranges.front() else {
            return Err(ConsensusError::Corrupt(
                "a key lies in none of the ranges that are replaced".to_owned(),
            ));
        };
        if self.gathered.size_bytes() >= STAGED_FILE_SIZE_BYTES {
            let start = self.from.take().unwrap_or_else(|| range.start.clone());
            let key = Bytes::copy_from_slice(key);
            self.write_file(start, key.clone())?;
            self.from = Some(key);
        }
        self.gathered.put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn replace(mut self: Box<Self>, clear: &[KeyRange], records: &WriteBatch) -> Result<()> {
        while !self.ranges.is_empty() {
            self.finish_range()?;
        }
        for range in clear.iter().filter(|range| range.start < end_of(range)) {
            self.write_file(range.start.clone(), end_of(range))?;
        }
        let mut records: Vec<_> = records.operations().to_vec();
        // A file's keys are in order.
        records.sort_by(|left, right| left.first_key().cmp(right.first_key()));
        if !records.is_empty() {
            self.add_file(&records)?;
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let ingested = self.engine.db.ingest_external_file_opts(&options, self.files.clone());
        self.engine.forget_iterators();
        ingested.map_err(engine_error)
    }
}

impl Drop for RocksStaging {
    fn drop(&mut self) {
        for file in &self.files {
            // Ingested files have moved; what cannot be removed goes with the next open.
            let _gone = std::fs::remove_file(file);
        }
    }
}
