//! Servers of one cluster, as processes of this machine, each with a directory, ports and a log of its own.
//!
//! ```text
//!   DIRECTORY/n1/       data of node 1      n1.toml, n1.log
//!   DIRECTORY/n2/       ...
//! ```
//!
//! They have this machine's loopback, disk and clock in common, or surroundings that something can be done to
//! ([`crate::surroundings`]).
//!
//! A server that is no cluster's node is here too, by the same code: it has no configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::doors::Doors;
use crate::ports::free_port;
use crate::process::{Place, Process, command};
use crate::surroundings::Surroundings;

/// Settings of a server, by their variables.
type Settings = Vec<(String, String)>;

/// One server: its files, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    place: Place,
    /// What `shardforge start` is given.
    arguments: Vec<String>,
    settings: Settings,
    log: PathBuf,
    process: Option<Process>,
    dsn: String,
    /// It has left the cluster for good.
    gone: bool,
}

impl Node {
    /// A server for itself, on a free port.
    fn alone(directory: &Path, settings: &[(&str, &str)]) -> Node {
        let data = data_dir(directory, 1);
        let arguments =
            ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", text(&data)];
        let arguments = arguments.map(str::to_owned).to_vec();
        Node::new(Place::here(), arguments, settings, data.with_extension("log"))
    }

    /// A node with a configuration file.
    fn configured(place: Place, config: &Path, settings: &[(&str, &str)]) -> Node {
        let arguments = vec!["--config".to_owned(), text(config).to_owned()];
        Node::new(place, arguments, settings, config.with_extension("log"))
    }

    fn new(place: Place, arguments: Vec<String>, settings: &[(&str, &str)], log: PathBuf) -> Node {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = settings.collect();
        Node { place, arguments, settings, log, process: None, dsn: String::new(), gone: false }
    }

    /// Starts it, and waits for nothing: it may need others to serve.
    fn launch(&mut self) {
        self.process = Some(Process::start(&self.place, &self.arguments, &self.settings, &self.log));
    }

    fn wait(&mut self) {
        let ready = self.process().ready();
        self.dsn = ready.unwrap_or_else(|problem| panic!("{problem}"));
    }

    fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server runs")
    }

    /// Ends it without warning, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(&mut self) -> Result<(), String> {
        self.process().stop()?;
        self.process = None;
        Ok(())
    }

    /// Waits until it ends by itself, with a failure; the end of its log.
    ///
    /// # Errors
    /// When it goes on for longer, or ends as if all were well.
    pub fn stopped_itself(&mut self, within: Duration) -> Result<String, String> {
        let log = self.process().failed(within)?;
        self.process = None;
        Ok(log)
    }

    /// Where it takes clients, or took them last.
    pub fn dsn(&self) -> &str {
        &self.dsn
    }

    /// What is wrong with it: that it has ended by itself, or has panicked.
    fn complaint(&mut self) -> Option<String> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            return Some(format!("a server has ended by itself, {status}\n{}", process.log_tail()));
        }
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let panic = log.lines().find(|line| line.contains("panicked at"))?;
        Some(format!("{}: {panic}", self.log.display()))
    }
}

/// One server or several.
#[derive(Debug)]
pub struct TestCluster {
    directory: PathBuf,
    settings: Settings,
    nodes: Vec<Node>,
    doors: Doors,
    /// Dropped last, when no process is there any more.
    surroundings: Surroundings,
}

impl TestCluster {
    /// Starts so many servers on what a directory holds, or makes them in it: for one, a server that is no cluster's
    /// node.
    ///
    /// # Panics
    /// When they do not come to serve.
    pub fn start(directory: &Path, count: usize, settings: &[(&str, &str)]) -> TestCluster {
        make(directory);
        if count == 1 {
            let alone = vec![Node::alone(directory, settings)];
            return TestCluster::launch(directory, settings, alone, Surroundings::default());
        }
        TestCluster::start_in(Surroundings::default(), directory, count, settings)
    }

    /// Starts so many nodes of a cluster in surroundings that something can be done to.
    ///
    /// # Panics
    /// When they do not come to serve.
    pub fn start_in(
        surroundings: Surroundings,
        directory: &Path,
        count: usize,
        settings: &[(&str, &str)],
    ) -> TestCluster {
        let mut cluster = TestCluster::growing_in(surroundings, directory, settings);
        while cluster.nodes.len() < count {
            cluster.join();
        }
        cluster
    }

    /// Starts the nodes of the cluster in a directory; where there is none, a first one, which others may join.
    ///
    /// # Panics
    /// When they do not come to serve.
    pub fn growing(directory: &Path, settings: &[(&str, &str)]) -> TestCluster {
        TestCluster::growing_in(Surroundings::default(), directory, settings)
    }

    fn growing_in(surroundings: Surroundings, directory: &Path, settings: &[(&str, &str)]) -> TestCluster {
        let configured = |number| {
            Node::configured(surroundings.place(number - 1), &config_file(directory, number), settings)
        };
        let there = (1..).take_while(|number| config_file(directory, *number).exists());
        let mut nodes: Vec<Node> = there.map(configured).collect();
        if nodes.is_empty() {
            make(directory);
            init(&surroundings.place(0), directory, 1, &["--single-node"]);
            nodes.push(configured(1));
        }
        TestCluster::launch(directory, settings, nodes, surroundings)
    }

    fn launch(
        directory: &Path,
        settings: &[(&str, &str)],
        nodes: Vec<Node>,
        surroundings: Surroundings,
    ) -> TestCluster {
        let (directory, doors) = (directory.to_owned(), Doors::default());
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut cluster = TestCluster { directory, settings, nodes, doors, surroundings };
        cluster.start_all();
        cluster
    }

    /// Adds a node and starts it.
    ///
    /// # Panics
    /// When it cannot join.
    pub fn join(&mut self) {
        let number = self.nodes.len() + 1;
        let (door, address) = self.entrance();
        let token =
            command(&Place::here(), &["node", "token", &door]).unwrap_or_else(|problem| panic!("{problem}"));
        let place = self.surroundings.place(number - 1);
        init(&place, &self.directory, number, &["--join", &address, "--token", &token]);
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let node = Node::configured(place, &config_file(&self.directory, number), &settings);
        self.nodes.push(node);
        self.restart(number - 1);
    }

    /// Where a node that runs takes clients, and where it takes nodes.
    fn entrance(&self) -> (String, String) {
        let running = self.nodes.iter().position(Node::runs).expect("a node runs");
        let config = config_file(&self.directory, running + 1);
        let text =
            std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        let address = text.lines().find_map(|line| line.strip_prefix("cluster_listen = "));
        let address = address.unwrap_or_else(|| panic!("{} names no cluster_listen", config.display()));
        (self.nodes[running].dsn.clone(), address.trim_matches('"').to_owned())
    }

    /// Starts the servers that do not run, all at once, as none may serve without others.
    ///
    /// # Panics
    /// When they do not come to serve.
    pub fn start_all(&mut self) {
        let mut started: Vec<&mut Node> =
            self.nodes.iter_mut().filter(|node| !node.runs() && !node.gone).collect();
        started.iter_mut().for_each(|node| node.launch());
        started.iter_mut().for_each(|node| node.wait());
        self.open_doors();
    }

    /// Starts a server again.
    ///
    /// # Panics
    /// When it does not come to serve.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].launch();
        self.nodes[node].wait();
        self.open_doors();
    }

    /// Tells clients where they may connect from now on.
    fn open_doors(&self) {
        let members = self.nodes.iter().filter(|node| !node.gone);
        self.doors.set(members.map(|node| node.dsn.clone()).collect());
    }

    /// Where clients may connect, now and later.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// A server.
    pub fn node(&mut self, node: usize) -> &mut Node {
        &mut self.nodes[node]
    }

    /// What the nodes are surrounded by.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Ends a node that the cluster does without from now on.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn retire(&mut self, node: usize) -> Result<(), String> {
        self.nodes[node].gone = true;
        self.open_doors();
        self.nodes[node].stop()
    }

    /// How many servers there are, without those that have left.
    pub fn count(&self) -> usize {
        self.members().len()
    }

    /// The servers that have not left.
    pub fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| !self.nodes[*node].gone).collect()
    }

    /// What is wrong with a server that ought to run.
    ///
    /// # Errors
    /// The first that has ended by itself, or has panicked.
    pub fn healthy(&mut self) -> Result<(), String> {
        self.nodes.iter_mut().find_map(Node::complaint).map_or(Ok(()), Err)
    }
}

/// Makes the files of a cluster's node.
fn init(place: &Place, directory: &Path, number: usize, kind: &[&str]) {
    let (data, config) = (data_dir(directory, number), config_file(directory, number));
    let [sql, peers] = [(); 2].map(|()| format!("{}:{}", place.host, free_port()));
    let mut arguments = vec!["init", "--data-dir", text(&data), "--config", text(&config)];
    arguments.extend(["--listen", &sql, "--cluster-listen", &peers, "--admin-listen", "127.0.0.1:0"]);
    arguments.extend(kind);
    command(place, &arguments).unwrap_or_else(|problem| panic!("{problem}"));
}

fn make(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}

fn data_dir(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("n{number}"))
}

fn config_file(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("n{number}.toml"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("tests have their files under names in UTF-8")
}
