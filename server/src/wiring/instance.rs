//! [`Instance`]: a node of this process, alone or in a cluster.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use shardforge_consensus::{Cluster, ClusterOptions, NodeInfo, NodeState};
use shardforge_consensus::{MemoryStorage, Node, NodeId, Storage, Tenure};
use shardforge_kv::Store;
use shardforge_pgwire::{Dial, Gateway, Stream};
use shardforge_runtime::{Network, Runtime};
use shardforge_sql::cluster::ClusterControl;
use shardforge_transport::token::check;
use shardforge_transport::{Credentials, Security, Transport, TransportOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::control::Control;
use super::identity::{FIRST_NODE, Identity, certificates};
use super::joining::{Doorkeeper, seconds_since_1970};
use super::network::of_network;
use super::threads::{NodeThreads, handle_of, run_on};
use super::{OpenError, create_directory};
use crate::config::{Config, EngineKind};
use crate::metrics::Sample;

/// See the module's essay.
pub struct Instance {
    node: Arc<Node>,
    /// Says why when the node's storage has failed.
    failure: watch::Receiver<Option<String>>,
    identity: Option<Identity>,
    tenure: watch::Receiver<Option<Tenure>>,
    primary: watch::Receiver<Option<NodeId>>,
    membership: Option<Membership>,
    // Last, for what is above runs there.
    _threads: Option<NodeThreads>,
}

/// A node's part in a cluster.
struct Membership {
    transport: Arc<Transport>,
    cluster: Arc<Cluster>,
    control: Arc<Control>,
    following: JoinHandle<()>,
}

impl Instance {
    /// Makes the first node of a cluster in a new data directory, and opens it.
    ///
    /// # Errors
    /// As [`Instance::open`].
    pub async fn found(config: &Config) -> Result<Instance, OpenError> {
        if config.engine == EngineKind::RocksDb {
            create_directory(&config.data_dir)?;
            found_identity(config).await?;
        }
        Self::open(config, &config.listen).await
    }

    /// Opens the node that `config` names, and makes it if it is not there. Clients reach it at `sql_address`, other nodes
    /// say.
    ///
    /// # Errors
    /// When its storage, its certificates or its cluster port cannot be used.
    pub async fn open(config: &Config, sql_address: &str) -> Result<Instance, OpenError> {
        let (storage, identity) = match config.engine {
            EngineKind::RocksDb => {
                create_directory(&config.data_dir)?;
                let identity = match Identity::load(&config.data_dir)? {
                    None if config.cluster_listen.is_some() => Some(found_identity(config).await?),
                    identity => identity,
                };
                (Storage::RocksDb(config.data_dir.clone()), identity)
            }
            EngineKind::Memory if config.cluster_listen.is_some() => return Err(OpenError::ClusterInMemory),
            EngineKind::Memory => (Storage::Memory(MemoryStorage::default()), None),
        };
        let listen = identity.as_ref().and_then(|identity| identity.cluster_listen(config));
        let threads = listen.map(|_| NodeThreads::start()).transpose()?;
        let handle = handle_of(threads.as_ref());
        let runtime = Runtime::real(handle.clone());
        let transport = match (&identity, listen) {
            (Some(identity), Some(listen)) => Some(Arc::new(bind(config, identity, listen, &handle).await?)),
            _ => None,
        };

        let (failed, failure) = watch::channel(None);
        let mut options = Store::node_options(storage);
        options.node_id = identity.as_ref().map_or(FIRST_NODE, |identity| identity.node);
        options.voters = vec![FIRST_NODE];
        options.network = transport.clone().map(|transport| transport as Arc<dyn Network>);
        options.block_cache_bytes = config.block_cache_bytes;
        options.row_cache_bytes = config.row_cache_bytes;
        options.disk_reserve_bytes = config.disk_reserve_bytes;
        options.on_fatal = Arc::new(move |reason: &str| {
            failed.send_replace(Some(reason.to_owned()));
        });
        let node = {
            let runtime = runtime.clone();
            run_on(&handle, async move { Node::open(options, runtime).await }).await?
        };
        let membership = match (&identity, transport) {
            (Some(identity), Some(transport)) => {
                Some(Membership::begin(config, identity, &node, transport, &handle, sql_address).await?)
            }
            _ => None,
        };
        let (tenure, primary) = match &membership {
            Some(membership) => (membership.cluster.tenure(), membership.cluster.primary()),
            None => {
                let (tenure, primary) = (watch::channel(node.tenure()), watch::channel(None));
                // They do not change as long as the node is open.
                (tenure.1, primary.1)
            }
        };
        Ok(Instance { node, failure, identity, tenure, primary, membership, _threads: threads })
    }

    /// The node's storage, for a database on it.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Which node of which cluster it is, if that was ever decided.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The tenure in which this node is to serve SQL, whenever it has one.
    pub fn tenure(&self) -> watch::Receiver<Option<Tenure>> {
        self.tenure.clone()
    }

    /// Who serves SQL, as this node knows; nobody knows better of a node alone.
    pub fn primary(&self) -> watch::Receiver<Option<NodeId>> {
        self.primary.clone()
    }

    /// The nodes of its cluster, if it is in one.
    pub fn nodes(&self) -> Option<watch::Receiver<Arc<[NodeInfo]>>> {
        self.membership.as_ref().map(|membership| membership.cluster.nodes())
    }

    /// Whether it is in no cluster.
    pub fn is_alone(&self) -> bool {
        self.membership.is_none()
    }

    /// Which node it is.
    pub fn id(&self) -> NodeId {
        self.identity.as_ref().map_or(FIRST_NODE, |identity| identity.node)
    }

    /// Tells the other nodes whether SQL is served here.
    pub fn serving(&self, serves: bool) {
        if let Some(membership) = &self.membership {
            membership.cluster.serving(serves);
        }
    }

    /// Gives up a tenure whose database cannot be opened here: another node may be able to.
    pub fn pass_on(&self, tenure: &Tenure, reason: &str) {
        if let Some(membership) = &self.membership {
            membership.cluster.pass_on(tenure, reason);
        }
    }

    /// What the gateway reaches other nodes by.
    pub fn dial(&self) -> Dial {
        let transport = self.membership.as_ref().map(|membership| Arc::clone(&membership.transport));
        Arc::new(move |node| {
            let transport = transport.clone();
            Box::pin(async move {
                let transport = transport.ok_or(std::io::ErrorKind::NotConnected)?;
                Ok(Box::new(transport.open_tunnel(NodeId(node)).await?) as Box<dyn Stream>)
            })
        })
    }

    /// Gives the gateway what comes from other nodes' gateways.
    pub fn take_tunnels(&self, gateway: Gateway) {
        if let Some(membership) = &self.membership {
            // Sessions run where statements do, not where the transport does.
            let handle = Handle::current();
            membership.transport.serve_tunnels(Arc::new(move |_from, tunnel| {
                let (gateway, handle) = (gateway.clone(), handle.clone());
                Box::pin(
                    async move { run_on(&handle, async move { gateway.accept_tunnel(tunnel).await }).await },
                )
            }));
        }
    }

    /// What SQL's statements about nodes do; nothing on a node alone.
    pub fn control(&self) -> Option<Arc<dyn ClusterControl>> {
        self.membership.as_ref().map(|membership| Arc::clone(&membership.control) as _)
    }

    /// Waits until the storage fails, and says why.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The node is gone, and so is whoever could say that it has failed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Reads counters while the node is open.
    pub fn observer(&self) -> Observer {
        let transport = self.membership.as_ref().map(|membership| Arc::downgrade(&membership.transport));
        Observer { node: Arc::clone(&self.node), transport }
    }

    /// Writes what is in memory to the disk and closes the node.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn close(&self) -> Result<(), OpenError> {
        if let Some(membership) = &self.membership {
            membership.end().await;
        }
        self.node.shutdown().await?;
        Ok(())
    }
}

impl Membership {
    /// Begins to take part in the cluster.
    async fn begin(
        config: &Config,
        identity: &Identity,
        node: &Arc<Node>,
        transport: Arc<Transport>,
        handle: &Handle,
        sql_address: &str,
    ) -> Result<Membership, OpenError> {
        let bound = transport.address().to_string();
        let mut options = ClusterOptions::new(
            identity.node,
            config.cluster_advertise.clone().unwrap_or(bound),
            sql_address,
        );
        let seed = |(id, address): &(NodeId, String)| NodeInfo {
            id: *id,
            address: address.clone(),
            sql_address: String::new(),
            state: NodeState::Active,
        };
        options.known = identity.seeds.iter().map(seed).collect();
        options.check_token = Arc::new(|record, shown| {
            check(record, shown, seconds_since_1970()).map_err(|error| error.to_string())
        });
        let replaced_after = options.replaced_after;
        let network: Arc<dyn Network> = Arc::clone(&transport) as _;
        let starting = Cluster::start(Arc::clone(node), network, Runtime::real(handle.clone()), options);
        let cluster = run_on(handle, starting).await?;
        let following = handle.spawn(follow_nodes(Arc::clone(&transport), cluster.nodes()));
        let folder = certificates(&config.data_dir);
        transport.serve_joins(Arc::new(Doorkeeper::new(&folder, identity.cluster, Arc::clone(&cluster))));
        let control = Arc::new(Control {
            node: Arc::clone(node),
            cluster: Arc::clone(&cluster),
            id: identity.cluster,
            certificates: folder,
            replaced_after,
        });
        Ok(Membership { transport, cluster, control, following })
    }

    /// Ends taking part.
    async fn end(&self) {
        // Another node goes on at once, rather than when it has missed this one.
        self.cluster.stand_back().await;
        self.following.abort();
        self.cluster.stop().await;
    }
}

/// Tells the transport where the nodes are.
async fn follow_nodes(transport: Arc<Transport>, mut nodes: watch::Receiver<Arc<[NodeInfo]>>) {
    loop {
        let known = Arc::clone(&nodes.borrow_and_update());
        for node in known.iter() {
            match node.state {
                NodeState::Gone => transport.expel(node.id),
                _ if node.address.is_empty() => {}
                _ => transport.set_peer(node.id, &node.address),
            }
        }
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

/// Founds a cluster with a data directory that is nobody's yet, or a node's that was alone so far.
async fn found_identity(config: &Config) -> Result<Identity, OpenError> {
    let is_new = std::fs::read_dir(&config.data_dir).is_ok_and(|mut entries| entries.next().is_none());
    if is_new {
        // What is the node's own comes first: it takes no directory that has something else in it.
        let options = Store::node_options(Storage::RocksDb(config.data_dir.clone()));
        let runtime = Runtime::real(Handle::current());
        Node::open(options, runtime).await?.shutdown().await?;
    }
    Identity::found(&config.data_dir, config.cluster_listen.clone())
}

/// Opens the cluster port.
async fn bind(
    config: &Config,
    identity: &Identity,
    listen: &str,
    handle: &Handle,
) -> Result<Transport, OpenError> {
    let failed = |error| OpenError::Address { address: listen.to_owned(), error };
    let address: SocketAddr = tokio::net::lookup_host(listen)
        .await
        .map_err(failed)?
        .next()
        .ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let credentials = Credentials::open(&certificates(&config.data_dir), identity.cluster, identity.node)?;
    let options = TransportOptions::new(identity.node, identity.cluster, Security::Tls(credentials), address);
    Ok(run_on(handle, Transport::bind(options)).await?)
}

/// See [`Instance::observer`].
pub struct Observer {
    node: Arc<Node>,
    /// It ends with the instance, whoever still looks.
    transport: Option<Weak<Transport>>,
}

impl Observer {
    /// The counters of the storage, and of the network between the nodes.
    pub fn samples(&self) -> Vec<Sample> {
        let transport = self.transport.as_ref().and_then(Weak::upgrade);
        let mut samples = self.of_storage();
        if let Some(transport) = transport {
            samples.extend(of_network(&transport.peers(), transport.tunnels()));
        }
        samples
    }

    fn of_storage(&self) -> Vec<Sample> {
        let (log, engine) = (self.node.log_stats(), self.node.kv_stats());
        vec![
            Sample::counter("log_syncs", "Synced writes of the log", log.syncs),
            Sample::counter("log_requests", "Requests that the syncs made durable", log.requests),
            Sample::counter("log_bytes", "Bytes written to the log", log.bytes),
            Sample::gauge("storage_keys", "Keys stored, estimated", engine.keys),
            Sample::gauge("storage_disk_bytes", "Bytes in data files", engine.disk_bytes),
            Sample::gauge("storage_memory_bytes", "Memory of the storage engine", engine.memory_bytes),
            Sample::gauge(
                "compaction_pending_bytes",
                "Bytes that compaction has yet to rewrite",
                engine.compaction_pending_bytes,
            ),
            Sample::gauge(
                "writes_stopped",
                "1 while writes wait for compaction",
                u64::from(engine.write_stopped),
            ),
        ]
    }
}
