//! Which node of which cluster a data directory is: what `init` decides, and nothing changes afterwards.
//!
//! ```text
//!   <data>/cluster.toml   the cluster's id, this node's number, its cluster port, whom it joined through
//!   <data>/certs/         the cluster's CA and this node's certificate
//! ```
//!
//! A directory without the file is a node alone, number 1; it becomes the first of a cluster when it is started with a
//! cluster port.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use shardforge_consensus::NodeId;
use shardforge_transport::ClusterId;
use shardforge_transport::certificates::create_cluster;

use super::OpenError;
use crate::config::Config;

const FILE: &str = "cluster.toml";

/// The number of a cluster's first node.
pub const FIRST_NODE: NodeId = NodeId(1);

/// Where a cluster's first node listens for the others unless it is told, and where those that join do.
pub const CLUSTER_LISTEN: &str = "127.0.0.1:7432";

/// See the module's essay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Its cluster port, unless the configuration says otherwise; none for a node that is alone and has not been asked
    /// to have one.
    pub listen: Option<String>,
    /// Nodes that were there when this one joined, and where: it looks for the others there first.
    pub seeds: Vec<(NodeId, String)>,
}

impl Identity {
    /// Founds a cluster with a data directory as its first node: draws its id, makes its certificates.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn found(data_dir: &Path, listen: Option<String>) -> Result<Identity, OpenError> {
        let identity = Identity { cluster: ClusterId::random(), node: FIRST_NODE, listen, seeds: Vec::new() };
        // A start that was cut short may have left some, which nobody has seen yet.
        let certificates = certificates(data_dir);
        if certificates.exists() {
            fs::remove_dir_all(&certificates).map_err(|error| unusable(&certificates, error))?;
        }
        create_cluster(&certificates, identity.cluster, identity.node)?;
        identity.save(data_dir)?;
        Ok(identity)
    }

    /// Whose a data directory is, if that was ever decided.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn load(data_dir: &Path) -> Result<Option<Identity>, OpenError> {
        let path = data_dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| {
                unusable(&path, io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, error)),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, data_dir: &Path) -> Result<(), OpenError> {
        let (path, new) = (data_dir.join(FILE), data_dir.join("cluster.toml.tmp"));
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&new)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(data_dir)?.sync_all()
        };
        write().map_err(|error| unusable(&path, error))
    }

    /// The cluster port: what the configuration says, or what was said when the node was made.
    pub fn cluster_listen<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        config.cluster_listen.as_deref().or(self.listen.as_deref())
    }

    fn text(&self) -> String {
        let mut table = toml::Table::new();
        table.insert("cluster".to_owned(), self.cluster.to_string().into());
        table.insert("node".to_owned(), i64::try_from(self.node.0).unwrap_or(i64::MAX).into());
        if let Some(listen) = &self.listen {
            table.insert("listen".to_owned(), listen.clone().into());
        }
        let seeds: toml::Table =
            self.seeds.iter().map(|(node, address)| (node.0.to_string(), address.clone().into())).collect();
        table.insert("joined_through".to_owned(), seeds.into());
        format!("# Which node of which cluster this directory is. Not to be edited.\n{table}")
    }

    fn parse(text: &str) -> Option<Identity> {
        let table: toml::Table = text.parse().ok()?;
        let seeds = table.get("joined_through")?.as_table()?.iter();
        let seeds = seeds.map(|(node, at)| Some((NodeId(node.parse().ok()?), at.as_str()?.to_owned())));
        Some(Identity {
            cluster: table.get("cluster")?.as_str()?.parse().ok()?,
            node: NodeId(table.get("node")?.as_integer()?.try_into().ok()?),
            listen: table.get("listen").and_then(|listen| listen.as_str()).map(str::to_owned),
            seeds: seeds.collect::<Option<_>>()?,
        })
    }
}

/// Where a node's certificates are.
pub fn certificates(data_dir: &Path) -> PathBuf {
    data_dir.join("certs")
}

fn unusable(path: &Path, error: io::Error) -> OpenError {
    OpenError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::load(folder.path()).unwrap().is_none());
        let seeds = vec![(NodeId(1), "db1:7432".to_owned()), (NodeId(3), "[::1]:7433".to_owned())];
        let mut identity = Identity { cluster: ClusterId(7), node: NodeId(4), listen: None, seeds };
        identity.save(folder.path()).unwrap();
        assert_eq!(Identity::load(folder.path()).unwrap().as_ref(), Some(&identity));
        (identity.listen, identity.seeds) = (Some("127.0.0.1:7432".to_owned()), Vec::new());
        identity.save(folder.path()).unwrap();
        assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity));
        fs::write(folder.path().join(FILE), "node = 'x'").unwrap();
        assert!(Identity::load(folder.path()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_founded_cluster_has_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::found(folder.path(), Some(CLUSTER_LISTEN.to_owned())).unwrap();
        assert!(certificates(folder.path()).join("ca.key").exists());
        assert_eq!(Identity::load(folder.path()).unwrap(), Some(identity));
    }
}
