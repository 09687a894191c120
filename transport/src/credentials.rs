//! What a running node shows of itself, and whom it trusts: its certificates, read anew when their files change.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use shardforge_runtime::NodeId;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::certificates::{CertificateFiles, read_certificates, read_key};
use crate::error::TransportError;
use crate::identity::{ClusterId, node_name};
use crate::tls::{self, Configs, Identity};

/// A node's certificates and key, in force.
///
/// The files are looked at whenever a connection is made. So certificates are replaced by writing new files (each
/// by a rename, so that none is ever there in part): connections that exist go on, new ones use the new files. A set
/// of files that does not fit together changes nothing; a warning says why.
pub struct Credentials {
    files: CertificateFiles,
    cluster: ClusterId,
    node: NodeId,
    current: RwLock<Arc<Loaded>>,
}

pub(crate) struct Loaded {
    stamp: Stamp,
    pub client: Arc<ClientConfig>,
    pub tunnel_client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
}

/// What shows that a file was replaced: when, and how long it is.
type Stamp = [Option<(SystemTime, u64)>; 3];

impl Credentials {
    /// Reads a node's certificates from a folder.
    ///
    /// # Errors
    /// When a file cannot be read, a key is open to others, or the certificate is not this node's.
    pub fn open(folder: &Path, cluster: ClusterId, node: NodeId) -> Result<Arc<Self>, TransportError> {
        let files = CertificateFiles::of(folder);
        let loaded = load(&files, cluster, node)?;
        Ok(Arc::new(Self { files, cluster, node, current: RwLock::new(Arc::new(loaded)) }))
    }

    /// Reads the files now, whether they have changed or not.
    ///
    /// # Errors
    /// As [`Credentials::open`]; what was in force before remains so.
    pub fn reload(&self) -> Result<(), TransportError> {
        let loaded = load(&self.files, self.cluster, self.node)?;
        *self.current.write() = Arc::new(loaded);
        Ok(())
    }

    /// The cluster and the node that they are of.
    #[must_use]
    pub fn holder(&self) -> (ClusterId, NodeId) {
        (self.cluster, self.node)
    }

    /// What is in force, once changed files have been read.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        let current = Arc::clone(&self.current.read());
        let stamp = stamp(&self.files);
        if stamp == current.stamp {
            return current;
        }
        match self.reload() {
            Ok(()) => tracing::info!(folder = %self.files.node.display(), "certificates were replaced"),
            Err(error) => {
                tracing::warn!(%error, "certificates were changed and cannot be used; the old ones remain in force");
                // They are looked at again when they change again.
                let old = Loaded {
                    stamp,
                    client: Arc::clone(&current.client),
                    tunnel_client: Arc::clone(&current.tunnel_client),
                    server: Arc::clone(&current.server),
                };
                *self.current.write() = Arc::new(old);
            }
        }
        Arc::clone(&self.current.read())
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("node", &self.node).finish_non_exhaustive()
    }
}

fn stamp(files: &CertificateFiles) -> Stamp {
    [&files.ca, &files.node, &files.node_key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(files: &CertificateFiles, cluster: ClusterId, node: NodeId) -> Result<Loaded, TransportError> {
    // Taken first: a file that changes while it is read is read once more.
    let stamp = stamp(files);
    let ca = read_certificates(&files.ca)?;
    let own = read_certificates(&files.node)?.swap_remove(0);
    let key = read_key(&files.node_key)?;
    if !tls::names_node(&own, cluster, node) {
        let (path, name) = (files.node.display(), node_name(cluster, node));
        return Err(TransportError::Certificate(format!("{path} is not the certificate of {name}")));
    }
    tls::check_chain(&own, &ca).map_err(|error| {
        let (own, ca) = (files.node.display(), files.ca.display());
        TransportError::Certificate(format!("{own} is not accepted by {ca}: {error}"))
    })?;
    // The CA goes along, for nodes that join: they know it by its fingerprint alone.
    let mut chain = vec![own];
    chain.extend(ca.iter().cloned());
    let Configs { client, tunnel_client, server } = tls::configs(Identity { ca: &ca, chain, key })?;
    Ok(Loaded { stamp, client, tunnel_client, server })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use shardforge_runtime::NodeId;

    use super::Credentials;
    use crate::certificates::{CertificateFiles, NodeKey, create_cluster};
    use crate::identity::ClusterId;

    #[test]
    fn certificates_are_replaced_while_a_node_runs() {
        let (folder, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cluster = ClusterId::random();
        let authority = create_cluster(folder.path(), cluster, NodeId(1)).unwrap();
        let credentials = Credentials::open(folder.path(), cluster, NodeId(1)).unwrap();
        let first = credentials.current();
        assert!(Arc::ptr_eq(&first, &credentials.current()), "nothing is read anew when nothing changed");

        let files = CertificateFiles::of(folder.path());
        fs::write(&files.node, "half of a certif").unwrap();
        let kept = credentials.current();
        assert!(Arc::ptr_eq(&first.client, &kept.client), "what cannot be used changes nothing");
        assert!(Arc::ptr_eq(&kept, &credentials.current()), "and is warned of once");

        let key = NodeKey::generate().unwrap();
        let certificate = authority.issue(NodeId(1), key.public_key()).unwrap();
        let next = CertificateFiles::of(new.path());
        key.save(&certificate, authority.certificate(), &next).unwrap();
        fs::rename(&next.node_key, &files.node_key).unwrap();
        fs::rename(&next.node, &files.node).unwrap();
        assert!(!Arc::ptr_eq(&first.client, &credentials.current().client));
        credentials.reload().unwrap();
    }

    #[test]
    fn a_certificate_of_another_node_or_ca_is_not_taken() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cluster = ClusterId::random();
        create_cluster(ours.path(), cluster, NodeId(1)).unwrap();
        create_cluster(other.path(), cluster, NodeId(1)).unwrap();
        let error = Credentials::open(ours.path(), cluster, NodeId(2)).unwrap_err();
        assert!(error.to_string().contains("is not the certificate of n2."), "{error}");
        let (ours, other) = (CertificateFiles::of(ours.path()), CertificateFiles::of(other.path()));
        fs::copy(&other.ca, &ours.ca).unwrap();
        let error = Credentials::open(ours.ca.parent().unwrap(), cluster, NodeId(1)).unwrap_err();
        assert!(error.to_string().contains("is not accepted by"), "{error}");
    }
}
