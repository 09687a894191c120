//! The data directory: whose it is, and in what format.
//!
//! ```text
//!   <data>/LOCK       held by the process that uses the directory
//!   <data>/FORMAT     "shardforge data directory", the format's version, the node's id
//!   <data>/raftdb/    the raft logs
//!   <data>/kvdb/      the data
//! ```
//!
//! FORMAT is written before anything but the folders, so a directory that has files but no FORMAT is somebody
//! else's and is left alone, and one that has FORMAT but not both folders has lost something.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use shardforge_runtime::{Disk, DiskLock, NodeId};

use crate::error::{ConsensusError, Result};

/// The version of the directory's layout and of everything in it.
const FORMAT_VERSION: u32 = 3;

const MAGIC: &str = "shardforge data directory";
const RAFT: &str = "raftdb";
const KV: &str = "kvdb";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: DiskLock,
}

impl DataDirectory {
    /// Takes the directory, creating it when it is not there or empty.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, node: NodeId) -> Result<Self> {
        let problem = |problem: String| ConsensusError::Directory { path: path.to_owned(), problem };
        let failed = |what: &str, error: &std::io::Error| match error.kind() {
            ErrorKind::StorageFull => ConsensusError::DiskFull,
            _ => problem(format!("{what}: {error}")),
        };
        disk.create_dir_all(path).map_err(|error| failed("it cannot be created", &error))?;
        let names = disk.list(path).map_err(|error| failed("it cannot be read", &error))?;
        let format_path = path.join("FORMAT");
        let format = match disk.read(&format_path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed("its FORMAT file cannot be read", &error)),
        };
        if format.is_none() {
            let ours = |name: &String| match name.as_str() {
                "LOCK" | "FORMAT.tmp" | "lost+found" => true,
                // A start that was cut short got as far as that.
                RAFT | KV => disk.list(&path.join(name)).is_ok_and(|names| names.is_empty()),
                _ => false,
            };
            if let Some(foreign) = names.iter().find(|name| !ours(name)) {
                return Err(problem(format!(
                    "it is not empty (it contains \"{foreign}\") and is not a shardforge data directory; \
                     name an empty or a new one"
                )));
            }
        }
        let pid = format!("{}\n", std::process::id());
        let lock = disk.lock(&path.join("LOCK"), pid.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => problem("another shardforge process is using it".to_owned()),
            _ => failed("its LOCK file cannot be locked", &error),
        })?;
        match format {
            Some(bytes) => {
                check_format(&bytes, node).map_err(problem)?;
                if let Some(lost) = [RAFT, KV].iter().find(|folder| !names.iter().any(|name| name == *folder))
                {
                    return Err(problem(format!(
                        "its folder {lost} is missing; restore the directory from a backup"
                    )));
                }
            }
            None => {
                for folder in [RAFT, KV] {
                    disk.create_dir_all(&path.join(folder))
                        .map_err(|error| failed("its folders cannot be created", &error))?;
                }
                let content = format!("{MAGIC}\nversion {FORMAT_VERSION}\nnode {}\n", node.0);
                disk.write_durably(&format_path, content.as_bytes())
                    .map_err(|error| failed("its FORMAT file cannot be written", &error))?;
            }
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn raft_path(&self) -> PathBuf {
        self.path.join(RAFT)
    }

    pub(crate) fn kv_path(&self) -> PathBuf {
        self.path.join(KV)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether this program can use a directory with this FORMAT file, or why not.
fn check_format(bytes: &[u8], node: NodeId) -> std::result::Result<(), String> {
    let corrupt = || "its FORMAT file is damaged; restore the directory from a backup".to_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt())?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(corrupt());
    }
    let mut number = |name: &str| {
        lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok())
    };
    let version = number("version").ok_or_else(corrupt)?;
    if version > u64::from(FORMAT_VERSION) {
        return Err(format!(
            "it has format version {version}, and this program knows versions up to {FORMAT_VERSION}; \
             use a newer shardforge"
        ));
    }
    if version == 0 {
        return Err(corrupt());
    }
    if version < u64::from(FORMAT_VERSION) {
        return Err(format!(
            "it has format version {version}, and this program reads version {FORMAT_VERSION} only; dump it with the \
             shardforge that wrote it, and restore the dump into a new directory"
        ));
    }
    let owner = number("node").ok_or_else(corrupt)?;
    if owner != node.0 {
        return Err(format!("it belongs to node {owner}, and this is node {}", node.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shardforge_runtime::{Disk, MemoryDisk, NodeId};

    use super::DataDirectory;

    fn refusal(disk: &MemoryDisk) -> String {
        DataDirectory::open(disk, Path::new("/data"), NodeId(1)).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_is_created_held_and_known_again() {
        let disk = MemoryDisk::default();
        let held = DataDirectory::open(&disk, Path::new("/data"), NodeId(1)).unwrap();
        assert!(refusal(&disk).contains("another shardforge process"));
        drop(held);
        DataDirectory::open(&disk, Path::new("/data"), NodeId(1)).unwrap();
        let other = DataDirectory::open(&disk, Path::new("/data"), NodeId(2)).unwrap_err();
        assert!(other.to_string().contains("belongs to node 1"));
    }

    #[test]
    fn foreign_newer_and_damaged_directories_are_refused() {
        let disk = MemoryDisk::default();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.write_durably(Path::new("/data/PG_VERSION"), b"18").unwrap();
        assert!(refusal(&disk).contains("\"PG_VERSION\""));

        let disk = MemoryDisk::default();
        let format = Path::new("/data/FORMAT");
        drop(DataDirectory::open(&disk, Path::new("/data"), NodeId(1)).unwrap());
        disk.write_durably(format, b"shardforge data directory\nversion 7\nnode 1\n").unwrap();
        assert!(refusal(&disk).contains("format version 7"));
        disk.write_durably(format, b"shardforge data directory\nversion 1\nnode 1\n").unwrap();
        assert!(refusal(&disk).contains("reads version 3 only"));
        for damaged in [
            &b""[..],
            b"\xff\xfe",
            b"shardforge data directory\nversion x\n",
            b"shardforge data directory\nversion 0\nnode 1\n",
            b"mysql\n",
        ] {
            disk.write_durably(format, damaged).unwrap();
            assert!(refusal(&disk).contains("damaged"), "{damaged:?}");
        }
    }

    #[test]
    fn a_start_cut_short_goes_on_and_a_lost_folder_is_missed() {
        let disk = MemoryDisk::default();
        disk.create_dir_all(Path::new("/data/raftdb")).unwrap();
        drop(DataDirectory::open(&disk, Path::new("/data"), NodeId(1)).unwrap());

        let disk = MemoryDisk::default();
        disk.create_dir_all(Path::new("/data/raftdb")).unwrap();
        disk.write_durably(Path::new("/data/raftdb/CURRENT"), b"x").unwrap();
        assert!(refusal(&disk).contains("\"raftdb\""));

        let disk = MemoryDisk::default();
        disk.create_dir_all(Path::new("/data/raftdb")).unwrap();
        disk.write_durably(Path::new("/data/FORMAT"), b"shardforge data directory\nversion 3\nnode 1\n")
            .unwrap();
        assert!(refusal(&disk).contains("kvdb is missing"));
    }
}
