//! Disks that are slow and clocks that are wrong, for one node each: a library that is loaded into its process
//! (`shim/disturb.c`), steered by a file.
//!
//! It takes Linux and a C compiler, which building the server takes too.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the library looks for its file by.
const VARIABLE: &str = "DISTURBANCE_FILE";

/// What is the matter with a node's disk and clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disturbance {
    /// How far its wall clock is ahead.
    pub clock_micros: i64,
    /// How much longer a sync takes.
    pub sync_micros: i64,
    /// How much longer a write to a file takes.
    pub write_micros: i64,
}

/// The library, and the files of the nodes.
#[derive(Debug)]
pub struct Shim {
    directory: PathBuf,
}

impl Shim {
    /// Builds the library in a directory, and has a file there for each of so many nodes.
    ///
    /// # Errors
    /// When there is no C compiler, or the directory cannot be written to.
    pub fn new(directory: &Path, nodes: usize) -> Result<Shim, String> {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let shim = Shim { directory: directory.to_owned() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/disturb.c");
        let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(shim.library()).arg(source).arg("-ldl");
        let output = compiler.output().map_err(|error| format!("{compiler:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{compiler:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        (0..nodes).try_for_each(|node| shim.disturb(node, Disturbance::default()))?;
        Ok(shim)
    }

    fn library(&self) -> PathBuf {
        self.directory.join("disturb.so")
    }

    fn file(&self, node: usize) -> PathBuf {
        self.directory.join(format!("n{}.disturbance", node + 1))
    }

    /// The variables that a node's process is started with, by which the library finds its way.
    pub fn variables(&self, node: usize) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD".to_owned(), text(self.library())), (VARIABLE.to_owned(), text(self.file(node)))]
    }

    /// Says what is the matter with a node from now on.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn disturb(&self, node: usize, disturbance: Disturbance) -> Result<(), String> {
        let Disturbance { clock_micros, sync_micros, write_micros } = disturbance;
        let bytes: Vec<u8> =
            [clock_micros, sync_micros, write_micros].into_iter().flat_map(i64::to_ne_bytes).collect();
        let path = self.file(node);
        // It is mapped by who reads it: it is changed where it is.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let written = file.and_then(|file| file.write_all_at(&bytes, 0));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}
