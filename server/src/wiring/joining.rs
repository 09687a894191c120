//! How a node comes into a cluster: both ends of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use shardforge_consensus::{AdmitRequest, Cluster, NodeState};
use shardforge_consensus::{Node, NodeId, Storage};
use shardforge_kv::Store;
use shardforge_runtime::Runtime;
use shardforge_transport::certificates::{Authority, CertificateFiles, adopt_authority, authority_key};
use shardforge_transport::token::JoinToken;
use shardforge_transport::{Admission, ClusterId, JoinHandler, JoinRequest, join as ask};

use super::identity::{CLUSTER_LISTEN, FIRST_NODE, Identity, certificates};
use super::{OpenError, create_directory};
use crate::config::Config;

/// What a node that wants to join says of itself.
pub struct Introduction {
    /// Its cluster port, HOST:PORT; empty when it does not know it yet.
    pub address: String,
    /// Its SQL port.
    pub sql_address: String,
}

impl Introduction {
    fn text(&self) -> String {
        let mut table = toml::Table::new();
        table.insert("address".to_owned(), self.address.clone().into());
        table.insert("sql_address".to_owned(), self.sql_address.clone().into());
        table.to_string()
    }

    /// Reads what a node has sent.
    pub fn parse(payload: &[u8]) -> Option<Introduction> {
        let table: toml::Table = std::str::from_utf8(payload).ok()?.parse().ok()?;
        let text = |key: &str| table.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        Some(Introduction { address: text("address")?, sql_address: text("sql_address")? })
    }
}

/// What a node is told that has been admitted.
pub struct Welcome {
    /// The key of the cluster's CA, so that others may join through the new node too.
    pub authority_key: String,
    /// The nodes of the cluster, and where they are.
    pub nodes: Vec<(NodeId, String)>,
}

impl Welcome {
    /// As it is sent.
    pub fn text(&self) -> String {
        let mut table = toml::Table::new();
        let nodes: toml::Table =
            self.nodes.iter().map(|(node, address)| (node.0.to_string(), address.clone().into())).collect();
        table.insert("authority_key".to_owned(), self.authority_key.clone().into());
        table.insert("nodes".to_owned(), nodes.into());
        table.to_string()
    }

    fn parse(payload: &[u8]) -> Option<Welcome> {
        let table: toml::Table = std::str::from_utf8(payload).ok()?.parse().ok()?;
        let nodes = table.get("nodes")?.as_table()?.iter();
        let nodes = nodes.map(|(node, at)| Some((NodeId(node.parse().ok()?), at.as_str()?.to_owned())));
        Some(Welcome {
            authority_key: table.get("authority_key")?.as_str()?.to_owned(),
            nodes: nodes.collect::<Option<_>>()?,
        })
    }
}

/// Has a cluster admit a new node, and makes the node's data directory.
///
/// # Errors
/// When the cluster cannot be reached or refuses, or the directory cannot be written.
pub async fn join(config: &Config, address: &str, token: &str) -> Result<Identity, OpenError> {
    let token: JoinToken = token.parse()?;
    let listen = config.cluster_listen.clone().unwrap_or_else(|| CLUSTER_LISTEN.to_owned());
    let advertised = config.cluster_advertise.as_ref().unwrap_or(&listen);
    // A port that is picked later is made known later.
    let known = |address: &str| if address.ends_with(":0") { String::new() } else { address.to_owned() };
    let introduction = Introduction { address: known(advertised), sql_address: known(&config.listen) };
    create_directory(&config.data_dir)?;
    let joined = ask(address, &token, Bytes::from(introduction.text())).await?;
    let welcome = Welcome::parse(&joined.admission.payload)
        .ok_or_else(|| OpenError::Welcome("it is not one of this version".to_owned()))?;
    let (cluster, node) = (joined.admission.cluster, joined.node());

    let runtime = Runtime::real(tokio::runtime::Handle::current());
    let mut options = Store::node_options(Storage::RocksDb(config.data_dir.clone()));
    options.node_id = node;
    // Others have the shards. This one will be given some.
    options.voters = vec![FIRST_NODE];
    Node::open(options, runtime).await?.shutdown().await?;
    let folder = certificates(&config.data_dir);
    joined.save(&folder)?;
    adopt_authority(&folder, cluster, &welcome.authority_key)?;
    let identity = Identity { cluster, node, listen: Some(listen), seeds: welcome.nodes };
    identity.save(&config.data_dir)?;
    Ok(identity)
}

/// Lets nodes into the cluster that have a token.
pub struct Doorkeeper {
    folder: PathBuf,
    id: ClusterId,
    cluster: Arc<Cluster>,
}

impl Doorkeeper {
    /// With the CA's key in a folder, if it is there.
    pub fn new(folder: &Path, id: ClusterId, cluster: Arc<Cluster>) -> Doorkeeper {
        Doorkeeper { folder: folder.to_owned(), id, cluster }
    }
}

impl JoinHandler for Doorkeeper {
    fn join(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admission, String>> {
        let (folder, id, cluster) = (self.folder.clone(), self.id, Arc::clone(&self.cluster));
        Box::pin(async move {
            let introduction = Introduction::parse(&request.payload)
                .ok_or_else(|| "the new node does not say where it is to be found".to_owned())?;
            let files = CertificateFiles::of(&folder);
            let (authority, authority_key) = Authority::load(&files, id)
                .and_then(|authority| Ok((authority, authority_key(&folder)?)))
                .map_err(|error| format!("this node cannot let others in: {error}"))?;
            // A key that cannot be signed must not cost the token.
            authority.issue(NodeId(0), &request.public_key).map_err(|error| error.to_string())?;
            let admitted = cluster.admit(AdmitRequest {
                token: request.credential.id,
                shown: request.credential.encode().into(),
                address: introduction.address,
                sql_address: introduction.sql_address,
            });
            let node = admitted.await.map_err(|error| error.to_string())?;
            tracing::info!(%node, from = %request.from, "a node has joined");
            let certificate =
                authority.issue(node, &request.public_key).map_err(|error| error.to_string())?;
            let nodes = Arc::clone(&cluster.nodes().borrow());
            let others = nodes
                .iter()
                .filter(|info| info.id != node && info.state != NodeState::Gone && !info.address.is_empty());
            let welcome = Welcome {
                authority_key,
                nodes: others.map(|info| (info.id, info.address.clone())).collect(),
            };
            Ok(Admission {
                cluster: id,
                node: node.0,
                certificate,
                ca: authority.certificate().to_vec(),
                payload: welcome.text().into_bytes(),
            })
        })
    }
}

/// The time as tokens have it.
pub fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
