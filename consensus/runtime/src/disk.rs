//! The few file operations that the node does itself.
//!
//! RocksDB does its own I/O; what is left is small: the format file, the lock file, looking at what a
//! directory holds. A write is durable when [`Disk::write_durably`] returns.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a directory and its parents; no error when it is there.
    ///
    /// # Errors
    /// As the system reports them.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// `NotFound` when there is none, others as the system reports them.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Replaces a file's content atomically and durably: after a crash it holds the old content or the new.
    ///
    /// # Errors
    /// As the system reports them.
    fn write_durably(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory, others as the system reports them.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Takes an exclusive lock on a file, which is created if need be, and writes `content` into it. It is
    /// held till the result is dropped, or the process ends in whatever way.
    ///
    /// # Errors
    /// `WouldBlock` when another holder has it, others as the system reports them.
    fn lock(&self, path: &Path, content: &[u8]) -> io::Result<DiskLock>;

    /// The bytes that may still be written to the file system that holds `path`.
    ///
    /// # Errors
    /// As the system reports them.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A held lock; see [`Disk::lock`].
#[derive(Debug)]
pub struct DiskLock {
    _held: HeldLock,
}

#[derive(Debug)]
enum HeldLock {
    Real { _file: File },
    Memory { locks: Arc<Mutex<BTreeSet<PathBuf>>>, path: PathBuf },
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Self::Memory { locks, path } = self {
            locks.lock().remove(path);
        }
    }
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write_durably(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is durable once its directory is.
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn lock(&self, path: &Path, content: &[u8]) -> io::Result<DiskLock> {
        // Not truncated at open: until the lock is held the content belongs to its holder.
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "the lock is held by another process"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.write_all(content)?;
        Ok(DiskLock { _held: HeldLock::Real { _file: file } })
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let mut space = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path ends with a nul byte, and the result is read only after the call has filled it in.
        let space = unsafe {
            if libc::statvfs(path.as_ptr(), space.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            space.assume_init()
        };
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// A file system in memory, for simulations.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    directories: Mutex<BTreeSet<PathBuf>>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut directories = self.directories.lock();
        for ancestor in path.ancestors() {
            directories.insert(ancestor.to_owned());
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.lock().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_durably(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.files.lock().insert(path.to_owned(), content.to_vec());
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let directories = self.directories.lock();
        if !directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = self.files.lock();
        let names: BTreeSet<String> = directories
            .iter()
            .chain(files.keys())
            .filter(|entry| entry.parent() == Some(path))
            .filter_map(|entry| entry.file_name().map(|name| name.to_string_lossy().into_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn lock(&self, path: &Path, content: &[u8]) -> io::Result<DiskLock> {
        if !self.locks.lock().insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the lock is held by another node"));
        }
        self.files.lock().insert(path.to_owned(), content.to_vec());
        let held = HeldLock::Memory { locks: Arc::clone(&self.locks), path: path.to_owned() };
        Ok(DiskLock { _held: held })
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::{Disk, MemoryDisk, RealDisk};

    fn check(disk: &dyn Disk, root: &Path) {
        let directory = root.join("a/b");
        disk.create_dir_all(&directory).unwrap();
        let file = directory.join("FORMAT");
        assert_eq!(disk.read(&file).unwrap_err().kind(), ErrorKind::NotFound);
        disk.write_durably(&file, b"one").unwrap();
        disk.write_durably(&file, b"two").unwrap();
        assert_eq!(disk.read(&file).unwrap(), b"two");
        assert_eq!(disk.list(&directory).unwrap(), ["FORMAT"]);
        assert_eq!(disk.list(&root.join("a")).unwrap(), ["b"]);

        let lock = disk.lock(&directory.join("LOCK"), b"1").unwrap();
        assert_eq!(disk.lock(&directory.join("LOCK"), b"2").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock);
        disk.lock(&directory.join("LOCK"), b"3").unwrap();
        assert!(disk.free_bytes(&directory).unwrap() > 0);
    }

    #[test]
    fn memory_and_machine_behave_alike() {
        check(&MemoryDisk::default(), Path::new("/root"));
        let root = std::env::temp_dir().join(format!("shardforge-disk-{}", std::process::id()));
        check(&RealDisk, &root);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
