//! The binary as a user has it: processes, ports, files, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn shardforge(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardforge"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHARDFORGE_")) {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    shardforge(folder).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A running server; killed when it goes out of scope.
struct Server {
    process: Child,
    dsn: String,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Server {
        let mut process = shardforge(folder)
            .args(["start", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let dsn = line.trim().strip_prefix("ready: ").expect("the line says that it is ready").to_owned();
        Server { process, dsn }
    }

    fn sql(&self, folder: &Path, sql: &str) -> Output {
        run(folder, &["sql", &self.dsn, "-t", "-c", sql])
    }

    fn answer(&self, folder: &Path, sql: &str) -> String {
        let output = self.sql(folder, sql);
        assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn address(&self) -> &str {
        self.dsn.split(['@', '/']).nth(3).expect("a DSN has an address")
    }

    fn signal(&self, signal: i32) {
        let process_id = i32::try_from(self.process.id()).expect("a process id");
        // SAFETY: `kill` reads no memory; the process is a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(process_id, signal) }, 0);
    }

    /// Processor time that the process has used, in the system's ticks of 10 ms.
    fn processor_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).expect("a running process");
        let after_name = stat.rsplit(')').next().expect("its fields");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // The 14th and 15th field of the line; the first two are before its name's end.
        [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum()
    }

    /// Waits for the end and gives the exit code.
    fn wait(mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            assert!(began.elapsed() < Duration::from_secs(30), "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(self) {
        self.signal(libc::SIGTERM);
        assert_eq!(self.wait(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port answers");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

#[test]
fn init_then_start_then_start_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let output = run(folder, &["init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--single-node"));

    let admin = format!("127.0.0.1:{}", free_port());
    let output = run(folder, &["init", "--single-node", "--data-dir", "./data", "--admin-listen", &admin]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(folder.join("shardforge.toml").exists() && folder.join("data").exists());
    let output = run(folder, &["init", "--single-node"]);
    assert!(text(&output.stderr).contains("shardforge.toml exists already"), "{}", text(&output.stderr));

    let output = run(folder, &["config", "show"]);
    let shown = text(&output.stdout);
    let line = shown.lines().find(|line| line.starts_with("admin_listen")).expect("the setting");
    assert!(line.contains(&admin) && line.ends_with("file shardforge.toml"), "{line}");

    let server = Server::start(folder, &["--config", "shardforge.toml"]);
    assert_eq!(get(&admin, "/health").0, 200);
    assert_eq!(get(&admin, "/ready"), (200, "ready\n".to_owned()));
    server.answer(folder, "create table t (id int primary key, name text)");
    server.answer(folder, "insert into t values (1, 'Ada'), (2, null)");
    let (status, metrics) = get(&admin, "/metrics");
    assert_eq!(status, 200);
    for name in ["connections_total 2", "simple_queries_total 2", "commits_total", "log_syncs_total"] {
        assert!(metrics.contains(&format!("shardforge_{name}")), "{metrics}");
    }
    server.stop();

    let server = Server::start(folder, &["--config", "shardforge.toml"]);
    assert_eq!(server.answer(folder, "select * from t order by id"), "1|Ada\n2|\n");
    // The log alone must be enough.
    server.answer(folder, "delete from t where id = 2");
    server.signal(libc::SIGKILL);
    server.wait();
    let server = Server::start(folder, &["--config", "shardforge.toml"]);
    assert_eq!(server.answer(folder, "select * from t order by id"), "1|Ada\n");
    server.stop();
}

#[test]
fn what_is_in_use_is_said_clearly() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder, &["--data-dir", "new/data", "--admin-listen", "off"]);
    assert!(folder.join("new/data").exists());

    let elsewhere = ["start", "--engine", "memory", "--admin-listen", "off", "--listen", server.address()];
    let output = run(folder, &elsewhere);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Address already in use"), "{}", text(&output.stderr));

    let here = ["start", "--data-dir", "new/data", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
    let output = run(folder, &here);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("new/data"), "{}", text(&output.stderr));
    server.stop();
}

#[test]
fn the_world_is_not_served_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["start", "--engine", "memory", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--insecure"), "{}", text(&output.stderr));
}

#[test]
fn a_directory_with_other_data_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("photos")).expect("a folder");
    std::fs::write(folder.join("photos/cat.jpg"), b"meow").expect("a file");
    for command in [vec!["init", "--single-node"], vec!["start", "--listen", "127.0.0.1:0"]] {
        let output =
            run(folder, &[&command[..], &["--data-dir", "photos", "--admin-listen", "off"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains("photos"), "{}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_dir(folder.join("photos")).expect("a folder").count(), 1);
}

/// Copies a data directory.
fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// The files of a folder whose names begin or end so.
fn files(folder: &Path, part: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let named = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.starts_with(part) || name.ends_with(part)
    };
    entries.filter(named).collect()
}

#[test]
fn a_damaged_data_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder, &["--data-dir", "good", "--admin-listen", "off"]);
    server.answer(folder, "create table t as select generate_series(1, 1000) as id");
    server.stop();
    let halve = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
        file.set_len(file.metadata().expect("a length").len() / 2).expect("a shorter file");
    };
    let overwrite = |path: &Path| {
        let length = std::fs::metadata(path).expect("a length").len();
        std::fs::write(path, vec![0xAA; usize::try_from(length).expect("a length")]).expect("garbage");
    };
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Damage<'_>)> = vec![
        ("kvdb lost", Box::new(|dir| std::fs::remove_dir_all(dir.join("kvdb")).expect("a folder"))),
        (
            "kvdb without CURRENT",
            Box::new(|dir| std::fs::remove_file(dir.join("kvdb/CURRENT")).expect("a file")),
        ),
        (
            "kvdb's tables halved",
            Box::new(|dir| files(&dir.join("kvdb"), ".sst").iter().for_each(|f| halve(f))),
        ),
        (
            "kvdb's tables overwritten",
            Box::new(|dir| files(&dir.join("kvdb"), ".sst").iter().for_each(|f| overwrite(f))),
        ),
        (
            "kvdb's manifest halved",
            Box::new(|dir| files(&dir.join("kvdb"), "MANIFEST").iter().for_each(|f| halve(f))),
        ),
        ("raftdb lost", Box::new(|dir| std::fs::remove_dir_all(dir.join("raftdb")).expect("a folder"))),
        (
            "raftdb's manifest overwritten",
            Box::new(|dir| files(&dir.join("raftdb"), "MANIFEST").iter().for_each(|f| overwrite(f))),
        ),
        (
            "a format to come",
            Box::new(|dir| {
                std::fs::write(dir.join("FORMAT"), "shardforge data directory\nversion 9\nnode 1\n")
                    .expect("a file");
            }),
        ),
    ];
    for (damage, apply) in cases {
        let bad = folder.join("bad");
        copy_directory(&folder.join("good"), &bad);
        apply(&bad);
        let process = shardforge(folder)
            .args(["start", "--data-dir", "bad", "--listen", "127.0.0.1:0", "--admin-listen", "off"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut refused = Server { process, dsn: String::new() };
        let mut stderr = refused.process.stderr.take().expect("stderr");
        assert_eq!(refused.wait(), Some(1), "{damage}");
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("text");
        assert!(said.contains("shardforge: ") && !said.contains("panicked"), "{damage}: {said}");
        std::fs::remove_dir_all(&bad).expect("a folder");
    }
    // The copy that was left alone is as it was.
    let server = Server::start(folder, &["--data-dir", "good", "--admin-listen", "off"]);
    assert_eq!(server.answer(folder, "select count(*) from t"), "1000\n");
    server.stop();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder, &["--data-dir", "./data"]);
    server.answer(folder, "create table t (id int primary key)");
    server.answer(folder, "insert into t values (1), (2)");
    server.stop();

    // More is to be kept free than there is.
    std::fs::write(folder.join("full.toml"), "data_dir = \"data\"\ndisk_reserve = \"9999TB\"\n")
        .expect("a file");
    let server = Server::start(folder, &["--config", "full.toml"]);
    for write in ["insert into t values (3)", "update t set id = 3 where id = 1", "create table u (id int)"] {
        let output = server.sql(folder, write);
        assert!(!output.status.success(), "{write}");
        let message = text(&output.stderr);
        assert!(message.contains("no space left on device"), "{message}");
    }
    assert_eq!(server.answer(folder, "select sum(id) from t").trim(), "3");
    server.stop();

    let server = Server::start(folder, &["--data-dir", "./data"]);
    server.answer(folder, "insert into t values (3)");
    assert_eq!(server.answer(folder, "select sum(id) from t").trim(), "6");
    server.stop();
}

#[test]
fn a_statement_that_computes_keeps_nobody_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let settings = "engine = \"memory\"\nadmin_listen = \"off\"\nworker_threads = 2\n";
    std::fs::write(folder.join("shardforge.toml"), settings).expect("a file");
    let server = Server::start(folder, &["--config", "shardforge.toml"]);
    // Seconds without an await: a computation that is one step of one statement.
    let mut computing = shardforge(folder)
        .args(["sql", &server.dsn, "-t", "-c", "select length(factorial(32000)::text)"])
        .stdout(Stdio::null())
        .spawn()
        .expect("the shell starts");
    // What has no part in it rests by the time when it has computed for a while.
    let enough = server.processor_ticks() + 30;
    while server.processor_ticks() < enough {
        assert!(computing.try_wait().expect("a child can be waited for").is_none(), "it ended at once");
        std::thread::yield_now();
    }
    let mut answers = 0;
    while computing.try_wait().expect("a child can be waited for").is_none() {
        assert_eq!(server.answer(folder, "select 1").trim(), "1");
        answers += 1;
    }
    // The last may have come after the end.
    assert!(answers > 1, "{answers} sessions were answered while another computed");
    server.stop();
}

#[test]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("shardforge.toml"), "listne = 'x'").expect("a file");
    let output = run(folder, &["config", "check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("unknown setting \"listne\"") && said.contains("\"listen\""), "{said}");
    std::fs::write(folder.join("shardforge.toml"), "max_connections = 0").expect("a file");
    let output = run(folder, &["start"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("max_connections"), "{}", text(&output.stderr));
}

#[test]
fn passwords_and_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let arguments = ["--engine", "memory", "--admin-listen", "off", "--max-connections", "4"];
    let server = Server::start(folder, &arguments);
    server.answer(folder, "create role ada login password 'lovelace'");
    let dsn = |user: &str| format!("postgresql://{user}@{}/postgres", server.address());
    let select = |dsn: &str| run(folder, &["sql", dsn, "-t", "-c", "select 1"]);
    assert_eq!(text(&select(&dsn("ada:lovelace")).stdout), "1\n");
    let wrong = select(&dsn("ada:byron"));
    let expected = "password authentication failed for user \"ada\"";
    assert!(text(&wrong.stderr).contains(expected), "{}", text(&wrong.stderr));
    assert!(text(&select(&dsn("ada")).stderr).contains("password"));

    // Garbage on the port disturbs nobody.
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64]] {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        stream.write_all(garbage).expect("garbage is taken");
        let mut answer = vec![];
        // A reset is an answer as well.
        let _ = stream.read_to_end(&mut answer);
    }
    assert_eq!(server.answer(folder, "select 2"), "2\n");
    server.stop();
}

#[test]
fn a_running_statement_may_end_within_the_grace_period() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let arguments = ["--engine", "memory", "--admin-listen", "off", "--shutdown-grace", "20s"];
    let server = Server::start(folder, &arguments);
    let mut sleeping = shardforge(folder)
        .args(["sql", &server.dsn, "-t", "-c", "select pg_sleep(3)", "-c", "select 'not reached'"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a client");
    // The session that asks is active too.
    while server.answer(folder, "select count(*) from pg_stat_activity where state = 'active'") != "2\n" {
        assert!(sleeping.try_wait().expect("a child").is_none(), "the client has ended");
    }
    server.stop();
    let mut said = String::new();
    sleeping.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    let output = sleeping.wait_with_output().expect("the client ends");
    assert_eq!(text(&output.stdout).trim(), "");
    assert!(said.contains("terminating connection due to administrator command"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn shards_are_listed_and_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder, &["--engine", "memory", "--admin-listen", "off"]);
    server.answer(folder, "create table t (id int primary key, v text); create index i on t (v)");
    let shard = |arguments: &[&str]| run(folder, &[&["shard"], arguments, &[server.dsn.as_str()]].concat());
    let output = shard(&["split", "--table", "t", "--at", "(1000)", "--at", "(500 * 4)"]);
    assert_eq!(text(&output.stdout), "ALTER TABLE\n", "{}", text(&output.stderr));
    let output = shard(&["split", "--index", "i", "--at", "('m')"]);
    assert_eq!(text(&output.stdout), "ALTER INDEX\n", "{}", text(&output.stderr));
    let output = shard(&["ls", "--table", "t"]);
    let listed = text(&output.stdout);
    let places: Vec<&str> = listed.lines().skip(2).filter_map(|line| line.split('|').nth(1)).collect();
    assert_eq!(
        places.iter().map(|place| place.trim()).collect::<Vec<_>>(),
        ["", "(1000)", "(2000)"],
        "{listed}"
    );
    assert!(text(&shard(&["ls"]).stdout).contains("public.i ('m')"));
    for (arguments, error) in [
        (&["split", "--at", "(1)"][..], "--table NAME or --index NAME"),
        (
            &["split", "--table", "t", "--at", "(1, 2)"],
            "SPLIT AT has more values than the key has columns (1)",
        ),
        (&["ls", "--index", "t"], "\"t\" is not an index"),
    ] {
        let output = shard(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(error), "{}", text(&output.stderr));
    }
    server.stop();
}

#[test]
fn a_node_alone_tells_how_it_could_have_company() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(folder, &["--engine", "memory", "--admin-listen", "off"]);
    for arguments in [
        &["ls"][..],
        &["status"],
        &["token"],
        &["token", "--valid-for", "10 minutes"],
        &["drain", "1"],
        &["resume", "1"],
        &["decommission", "1"],
    ] {
        let output = run(folder, &[&["node"], arguments, &[server.dsn.as_str()]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("--cluster-listen HOST:PORT"), "{arguments:?}: {said}");
    }
    // What is given as a time is a value, whatever is in it.
    let output = run(folder, &["node", "token", "--valid-for", "it's", server.dsn.as_str()]);
    assert!(text(&output.stderr).contains("type interval: \"it's\""), "{}", text(&output.stderr));
    server.stop();
}

/// The names of metrics in a text.
fn metric_names(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("shardforge_")).collect()
}

#[test]
fn the_dashboard_shows_what_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let admin = format!("127.0.0.1:{}", free_port());
    let server = Server::start(folder, &["--engine", "memory", "--admin-listen", &admin]);
    let (_, metrics) = get(&admin, "/metrics");
    let measured = metric_names(&metrics);
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/grafana/shardforge.json");
    let dashboard = std::fs::read_to_string(dashboard).expect("the dashboard");
    let shown = metric_names(&dashboard);
    assert!(shown.len() > 10, "{shown:?}");
    let unknown: Vec<_> = shown.difference(&measured).collect();
    assert!(unknown.is_empty(), "{unknown:?} are shown, and {measured:?} are measured");
    server.stop();
}
