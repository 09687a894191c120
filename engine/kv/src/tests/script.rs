//! Golden scripts: what several transactions do, step by step, and what they get to see.
//!
//! A script consists of blocks: commands, a line `---`, and what they printed. With `UPDATE_GOLDEN=1` in the
//! environment the outputs are written anew. Commands of a session run in a task of their own, so one that has
//! to wait prints `waiting`, and its outcome when it comes.
//!
//! ```text
//!   a begin [rc|rr|serializable]         a statement              a get KEY [current|latest]
//!   a scan FROM TO [reverse] [limit=N] [current]                  a put KEY VALUE   a del KEY
//!   a lock KEY [keyshare|share|nokey] [nowait|skip|timeout=MS]    a object ID MODE [nowait]
//!   a savepoint NAME   a rollback-to NAME   a release NAME        a spill
//!   a commit           a rollback           a hold                a get KEY held
//!   a prepare NAME     a commit-prepared NAME                     a rollback-prepared NAME   prepared
//!   sleep MS           gc                   crash                 versions          locks
//!   split KEY          shards
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use shardforge_consensus::{Cursor, CursorOptions, MemoryStorage, Node};
use shardforge_runtime::{Runtime, Simulation};

use super::{bytes, open, text};
use crate::{
    HeldSnapshot, IsolationLevel, KvError, KvOptions, LockStrength, ObjectId, ObjectLockMode, Savepoint,
    ScanRequest, Store, Transaction, TxnOptions, Visibility, WaitLimits, WaitPolicy, encoding,
};

#[test]
fn scripts_give_what_they_gave() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/scripts");
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in scripts {
        let script = std::fs::read_to_string(&path).unwrap();
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        let input = script.clone();
        let output = simulation.block_on(async move { Player::new(runtime).await.play(&input).await });
        if output != script {
            if update {
                std::fs::write(&path, output).unwrap();
            } else {
                wrong.push(format!("{}:\n{}", path.display(), difference(&script, &output)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(expected: &str, actual: &str) -> String {
    let at = expected.lines().zip(actual.lines()).take_while(|(left, right)| left == right).count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
    format!("  line {}: expected {:?}, got {:?}", at + 1, line(expected), line(actual))
}

/// A session's task: takes commands, sends what came of them.
struct SessionTask {
    commands: mpsc::UnboundedSender<Vec<String>>,
    results: mpsc::UnboundedReceiver<String>,
    running: Option<String>,
}

struct Player {
    runtime: Runtime,
    storage: MemoryStorage,
    node: std::sync::Arc<Node>,
    store: Store,
    sessions: BTreeMap<String, SessionTask>,
}

fn options() -> KvOptions {
    KvOptions { gc_ttl: Duration::ZERO, gc_interval: Duration::from_secs(3600), ..KvOptions::default() }
}

impl Player {
    async fn new(runtime: Runtime) -> Self {
        let storage = MemoryStorage::new();
        let (node, store) = open(&storage, &runtime, options()).await;
        Self { runtime, storage, node, store, sessions: BTreeMap::new() }
    }

    async fn play(mut self, script: &str) -> String {
        let mut output = String::new();
        let mut lines = script.lines().peekable();
        while let Some(line) = lines.next() {
            if line == "---" {
                // What was expected is replaced by what came.
                while lines.next_if(|line| !line.is_empty()).is_some() {}
                continue;
            }
            writeln!(output, "{line}").unwrap();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut printed = self.run(line).await;
            while let Some(next) = lines.next_if(|line| !line.is_empty() && *line != "---") {
                writeln!(output, "{next}").unwrap();
                if !next.starts_with('#') {
                    printed.push_str(&self.run(next).await);
                }
            }
            write!(output, "---\n{printed}").unwrap();
        }
        output
    }

    /// Runs one command and returns what it, and commands that waited for it, printed.
    async fn run(&mut self, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut printed = String::new();
        match words[0].as_str() {
            "sleep" => self.runtime.sleep(Duration::from_millis(words[1].parse().unwrap())).await,
            "gc" => writeln!(printed, "gc: {}", self.store.collect_garbage().await.unwrap()).unwrap(),
            "split" => self.store.split(words[1].as_bytes()).await.unwrap(),
            "shards" => {
                let shards = self.store.shards();
                let starts: Vec<_> =
                    shards.iter().map(|shard| format!("{}:{}", shard.id, text(&shard.start))).collect();
                writeln!(printed, "shards: {}", starts.join(" ")).unwrap();
            }
            "versions" => self.print_versions(&mut printed),
            "locks" => self.print_locks(&mut printed),
            "prepared" => {
                let names: Vec<_> = self.store.prepared().iter().map(|found| text(&found.name)).collect();
                writeln!(printed, "prepared: {}", names.join(" ")).unwrap();
            }
            "crash" => {
                self.sessions.clear();
                // Whatever still holds the node ends when its handles are gone.
                let (other, empty) = (MemoryStorage::new(), options());
                (self.node, self.store) = open(&other, &self.runtime, empty).await;
                self.runtime.sleep(Duration::from_secs(3)).await;
                self.storage.crash();
                (self.node, self.store) = open(&self.storage, &self.runtime, options()).await;
            }
            name => {
                if !self.sessions.contains_key(name) {
                    let number = self.sessions.len() as u64 + 1;
                    let task = start(&self.runtime, &self.store, number);
                    self.sessions.insert(name.to_owned(), task);
                }
                let session = self.sessions.get_mut(name).unwrap();
                assert!(session.running.is_none(), "{name} still waits");
                session.running = Some(words[1..].join(" "));
                session.commands.unbounded_send(words[1..].to_vec()).unwrap();
            }
        }
        // Everything that can run has run when time moves.
        self.runtime.sleep(Duration::from_millis(1)).await;
        for (name, session) in &mut self.sessions {
            let Some(running) = &session.running else { continue };
            if let Ok(result) = session.results.try_recv() {
                if !result.is_empty() {
                    writeln!(printed, "{name} {running}: {result}").unwrap();
                }
                session.running = None;
            } else if words[0] == *name {
                writeln!(printed, "{name} {running}: waiting").unwrap();
            }
        }
        printed
    }

    fn print_versions(&self, printed: &mut String) {
        let (start, end) = (encoding::ROWS_START.to_vec(), encoding::ROWS_END.to_vec());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for shard in self.node.shards().data() {
            let range = CursorOptions::range(start.clone(), end.clone());
            count_versions(&mut *shard.read().cursor(range).unwrap(), &mut counts);
        }
        let list: Vec<_> = counts.iter().map(|(key, count)| format!("{key}:{count}")).collect();
        writeln!(printed, "versions: {}", list.join(" ")).unwrap();
    }

    fn print_locks(&self, printed: &mut String) {
        let mut locks: Vec<String> = self
            .store
            .locks()
            .into_iter()
            .map(|lock| {
                let target = match lock.target {
                    crate::LockTarget::Row(key) => format!("row {}", text(&key)),
                    crate::LockTarget::Object(object) => format!("object {}", object.id),
                    crate::LockTarget::Transaction(_) => "transaction".to_owned(),
                };
                let granted = if lock.granted { "held" } else { "wanted" };
                // Of those that are prepared, the session is a time; the scripts name none.
                let by = match lock.session {
                    session if session < 100 => format!("session {session}"),
                    _ => "none".to_owned(),
                };
                format!("lock: {target} {} {granted} by {by}", lock.mode)
            })
            .collect();
        locks.sort();
        locks.iter().for_each(|lock| writeln!(printed, "{lock}").unwrap());
    }
}

fn start(runtime: &Runtime, store: &Store, number: u64) -> SessionTask {
    let (commands, mut inbox) = mpsc::unbounded::<Vec<String>>();
    let (outbox, results) = mpsc::unbounded();
    let store = store.clone();
    runtime.spawn("session", async move {
        let mut session = Session { store, number, txn: None, savepoints: BTreeMap::new(), held: None };
        while let Some(words) = inbox.next().await {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let result = session.run(&words).await.unwrap_or_else(|error| describe(&error));
            if outbox.unbounded_send(result).is_err() {
                return;
            }
        }
    });
    SessionTask { commands, results, running: None }
}

fn count_versions(cursor: &mut dyn Cursor, counts: &mut BTreeMap<String, usize>) {
    cursor.seek_to_first().unwrap();
    while cursor.valid() {
        let mut key = Vec::new();
        let (prefix, _) = encoding::split_version(cursor.key()).unwrap();
        encoding::decode_prefix(prefix, |part| key.extend_from_slice(part)).unwrap();
        *counts.entry(text(&key)).or_default() += 1;
        cursor.next().unwrap();
    }
}

fn describe(error: &KvError) -> String {
    match error {
        KvError::Deadlock(report) => {
            // Transaction ids are times; the scripts name none.
            let details =
                report.waits.iter().map(|wait| wait.detail(|object| format!("object {}", object.id)));
            let lines: Vec<String> = details
                .map(|line| match line.split_once(" on transaction ") {
                    Some((before, rest)) => {
                        let after = rest.split_once(';').map_or("", |(_, after)| after);
                        format!("{before} on transaction;{after}")
                    }
                    None => line,
                })
                .collect();
            format!("ERROR {error}: {}", lines.join(" "))
        }
        other => format!("ERROR {other}"),
    }
}

struct Session {
    store: Store,
    number: u64,
    txn: Option<Transaction>,
    savepoints: BTreeMap<String, Savepoint>,
    held: Option<HeldSnapshot>,
}

impl Session {
    async fn run(&mut self, words: &[&str]) -> Result<String, KvError> {
        let has = |word: &str| words.contains(&word);
        let value_of = |name: &str| {
            words.iter().find_map(|word| word.strip_prefix(name)).map(|value| value.parse().unwrap())
        };
        let visibility = match () {
            () if has("current") => Visibility::Current,
            () if has("latest") => Visibility::Latest,
            () if has("held") => Visibility::At(self.held.as_ref().unwrap().snapshot()),
            () => Visibility::Statement,
        };
        let policy = match value_of("timeout=") {
            Some(millis) => {
                let timeout = Some(Duration::from_millis(millis));
                WaitPolicy::Wait(WaitLimits { timeout, ..WaitLimits::default() })
            }
            None if has("nowait") => WaitPolicy::NoWait,
            None if has("skip") => WaitPolicy::SkipLocked,
            None => WaitPolicy::Wait(WaitLimits::default()),
        };
        if words[0] == "begin" {
            let isolation = match words.get(1) {
                Some(&"rr") => IsolationLevel::RepeatableRead,
                Some(&"serializable") => IsolationLevel::Serializable,
                _ => IsolationLevel::ReadCommitted,
            };
            let txn = self.store.begin(TxnOptions { isolation, read_only: false, session: self.number });
            txn.begin_statement();
            self.txn = Some(txn);
            self.savepoints.clear();
            return Ok(String::new());
        }
        match words[0] {
            "commit-prepared" => {
                let claimed = self.store.claim_prepared(words[1].as_bytes())?;
                return claimed.commit_with(|_| ()).await.map(|_| "committed".to_owned());
            }
            "rollback-prepared" => {
                let claimed = self.store.claim_prepared(words[1].as_bytes())?;
                return claimed.rollback().await.map(|()| "rolled back".to_owned());
            }
            _ => {}
        }
        let txn = self.txn.as_ref().expect("begin first");
        let done = Ok(String::new());
        match words[0] {
            "statement" => {
                txn.begin_statement();
                done
            }
            "hold" => {
                self.held = Some(txn.hold_snapshot());
                done
            }
            "get" => Ok(shown(txn.get(words[1].as_bytes(), visibility).await?.as_deref())),
            "scan" => {
                let mut request = ScanRequest::new(bytes(words[1])..bytes(words[2]));
                request.reverse = has("reverse");
                request.limit_rows = value_of("limit=").unwrap_or(0) as usize;
                request.visibility = visibility;
                let page = txn.scan(request).await?;
                let rows: Vec<_> =
                    page.rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
                let resume = page.resume.map(|key| format!(" then {:?}", text(&key))).unwrap_or_default();
                Ok(format!("[{}]{resume}", rows.join(" ")))
            }
            "put" => {
                txn.put(bytes(words[1]), bytes(words[2]));
                done
            }
            "del" => {
                txn.delete(bytes(words[1]));
                done
            }
            "lock" => {
                let strength = match () {
                    () if has("keyshare") => LockStrength::KeyShare,
                    () if has("share") => LockStrength::Share,
                    () if has("nokey") => LockStrength::NoKeyUpdate,
                    () => LockStrength::Update,
                };
                let outcome = txn.lock(words[1].as_bytes(), strength, policy).await?;
                let changed = if outcome.changed { " changed" } else { "" };
                let own = if outcome.own { " own" } else { "" };
                Ok(format!("{}{changed}{own}", shown(outcome.current.as_deref())))
            }
            "object" => {
                let object = ObjectId { class: 1, kind: 0, id: words[1].parse().unwrap() };
                txn.lock_object(object, object_mode(words[2]), policy).await?;
                Ok("locked".to_owned())
            }
            "savepoint" => {
                self.savepoints.insert(words[1].to_owned(), txn.savepoint());
                txn.begin_statement();
                done
            }
            "rollback-to" => {
                txn.rollback_to(&self.savepoints[words[1]])?;
                txn.begin_statement();
                done
            }
            "release" => txn.release(self.savepoints[words[1]]).map(|()| String::new()),
            "spill" => txn.spill_all().await.map(|()| String::new()),
            "prepare" => txn.prepare(bytes(words[1]), bytes("")).await.map(|()| "prepared".to_owned()),
            "commit" => txn.commit().await.map(|_| "committed".to_owned()),
            "rollback" => txn.rollback().await.map(|()| String::new()),
            other => panic!("unknown command {other}"),
        }
    }
}

fn shown(value: Option<&[u8]>) -> String {
    value.map_or("nothing".to_owned(), text)
}

fn object_mode(name: &str) -> ObjectLockMode {
    let modes = [
        ObjectLockMode::AccessShare,
        ObjectLockMode::RowShare,
        ObjectLockMode::RowExclusive,
        ObjectLockMode::ShareUpdateExclusive,
        ObjectLockMode::Share,
        ObjectLockMode::ShareRowExclusive,
        ObjectLockMode::Exclusive,
        ObjectLockMode::AccessExclusive,
    ];
    modes.into_iter().find(|mode| mode.name() == format!("{name}Lock")).expect("a table lock mode")
}
