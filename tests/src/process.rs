//! A server process: how it is started, what it says, and how it is stopped, frozen and killed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process may take until it serves.
const START_MAX: Duration = Duration::from_secs(60);

/// How long one may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Lines at the end of a log that are shown when something is wrong.
const LOG_TAIL_LINES: usize = 30;

/// The binary that cargo built beside this test or example.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") || path.ends_with("examples") {
        path.pop();
    }
    path.join("shardforge")
}

/// Where processes run.
#[derive(Clone, Debug)]
pub struct Place {
    /// Their address.
    pub host: IpAddr,
    /// What their commands begin with.
    pub prefix: Vec<String>,
    /// What servers are started with.
    pub variables: Vec<(String, String)>,
}

impl Place {
    /// This machine's loopback.
    pub fn here() -> Place {
        Place { host: Ipv4Addr::LOCALHOST.into(), prefix: Vec::new(), variables: Vec::new() }
    }

    fn binary(&self) -> Command {
        match self.prefix.split_first() {
            None => Command::new(binary()),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary());
                command
            }
        }
    }
}

/// Runs a command of the binary to its end; what it printed.
///
/// # Errors
/// What it said when it failed.
pub fn command(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let output = place.binary().args(arguments).output().expect("the binary starts");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("shardforge {}: {}", arguments.join(" "), said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A `shardforge start` that runs. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The first line on its standard output. The lock lets threads share what has a process; nobody ever waits for it.
    said: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts one. What it logs is added to a file; [`Process::ready`] waits until it serves.
    pub fn start(place: &Place, arguments: &[String], settings: &[(String, String)], log: &Path) -> Process {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file: File = file.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut child = place
            .binary()
            .arg("start")
            .args(arguments)
            .envs(settings.iter().chain(&place.variables).map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // An end without a line says that the process has gone. Nobody may be waiting for it any more.
            if BufReader::new(stdout).read_line(&mut line).is_ok() {
                let _ = sender.send(line);
            }
        });
        Process { child, log: log.to_owned(), said: Mutex::new(said) }
    }

    /// Waits until it serves: where.
    ///
    /// # Errors
    /// When it has ended or takes too long, with the end of its log.
    pub fn ready(&mut self) -> Result<String, String> {
        let said = self.said.get_mut().unwrap_or_else(PoisonError::into_inner);
        let line = said.recv_timeout(START_MAX).unwrap_or_default();
        let dsn = line.trim().strip_prefix("ready: ").map(str::to_owned);
        dsn.ok_or_else(|| format!("the server has said {line:?} and is not ready\n{}", self.log_tail()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    /// Ends it without warning, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("and is gone then");
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it ends with a failure, or not in time.
    pub fn stop(&mut self) -> Result<(), String> {
        self.signal(libc::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("ended with {status}\n{}", self.log_tail())),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("still runs {STOP_MAX:?} after SIGTERM\n{}", self.log_tail()))
    }

    /// Waits until it ends by itself, with a failure; the end of its log.
    ///
    /// # Errors
    /// When it goes on for longer, or ends as if all were well.
    pub fn failed(&mut self, within: Duration) -> Result<String, String> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            match self.ended() {
                Some(status) if status.success() => return Err("ended as if all were well".to_owned()),
                Some(_) => return Ok(self.log_tail()),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("still runs after {within:?}\n{}", self.log_tail()))
    }

    /// Stops it where it stands: its sockets stay open, and nobody answers.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let process_id = i32::try_from(self.child.id()).expect("process ids fit");
        // SAFETY: `kill` reads no memory; the process is a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(process_id, signal) }, 0, "the process is there");
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("{}:\n{}", path.display(), tail.join("\n"))
}

impl Drop for Process {
    fn drop(&mut self) {
        // The directory, and the log in it, may go with the test.
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
