//! Certificates: a CA for each cluster, and a certificate for each node, signed by it.
//!
//! ```text
//!   certs/ca.crt     the cluster's CA. While it is being replaced, the new one and the old one
//!   certs/ca.key     on nodes that may let others join
//!   certs/node.crt   this node's certificate
//!   certs/node.key   its key, which never leaves the node
//! ```
//!
//! All are PEM; keys are P-256, in files that their owner alone can read. A node's certificate names the node and
//! the cluster ([`node_name`]), for both ends of a connection. A node that joins sends its public key and gets the
//! certificate back.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use shardforge_runtime::NodeId;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::TransportError;
use crate::identity::{ClusterId, node_name};
use crate::tls;
use crate::token::Fingerprint;

/// A CA outlives the machines that it was made on.
const CA_DAYS: u64 = 10 * 365;

/// A node's certificate; a new one can be put in its place while the node runs.
const NODE_DAYS: u64 = 5 * 365;

/// Certificates are valid from before they were made: the clocks of nodes differ.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// An uncompressed point of P-256.
const PUBLIC_KEY_BYTES: usize = 65;

type Result<T> = std::result::Result<T, TransportError>;

/// The paths of a node's certificates and keys in a folder.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The cluster's CA.
    pub ca: PathBuf,
    /// The CA's key.
    pub ca_key: PathBuf,
    /// The node's certificate.
    pub node: PathBuf,
    /// The node's key.
    pub node_key: PathBuf,
}

impl CertificateFiles {
    /// The files in a folder, by their usual names.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            ca: file("ca.crt"),
            ca_key: file("ca.key"),
            node: file("node.crt"),
            node_key: file("node.key"),
        }
    }
}

/// The SHA-256 of a certificate, by which a join token knows the CA.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// A cluster's CA with its key.
pub struct Authority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the CA of a new cluster.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn create(cluster: ClusterId) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = ca_params(cluster);
        let certificate = params.self_signed(&key).map_err(failed)?.der().clone();
        Ok(Self { cluster, certificate, issuer: Issuer::new(params, key) })
    }

    /// Reads the CA and its key.
    ///
    /// # Errors
    /// When a file cannot be read, is open to others, or is not what it should be.
    pub fn load(files: &CertificateFiles, cluster: ClusterId) -> Result<Self> {
        let certificate = read_certificates(&files.ca)?.swap_remove(0);
        let PrivateKeyDer::Pkcs8(key) = read_key(&files.ca_key)? else {
            return Err(TransportError::Certificate(format!(
                "{} is not a PKCS#8 key",
                files.ca_key.display()
            )));
        };
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(|error| {
            TransportError::Certificate(format!("{} is not a P-256 key: {error}", files.ca_key.display()))
        })?;
        let authority = Self { cluster, certificate, issuer: Issuer::new(ca_params(cluster), key) };
        // A key of another CA would sign certificates that nobody accepts.
        let probe = NodeKey::generate()?;
        authority.issue(NodeId(0), probe.public_key()).map_err(|_| {
            let (ca, key) = (files.ca.display(), files.ca_key.display());
            TransportError::Certificate(format!(
                "{ca} and {key} do not belong together, or to cluster {cluster}"
            ))
        })?;
        Ok(authority)
    }

    /// Writes the CA and its key.
    ///
    /// # Errors
    /// When there are such files already, or they cannot be written.
    pub fn save(&self, files: &CertificateFiles) -> Result<()> {
        write_new(&files.ca_key, &pem("PRIVATE KEY", self.issuer.key().serialized_der()), KEY_MODE)?;
        write_new(&files.ca, &pem("CERTIFICATE", &self.certificate), CERTIFICATE_MODE)
    }

    /// The CA's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Signs a certificate for a node's public key, DER. A key that is not one of P-256 is refused.
    ///
    /// # Errors
    /// When the public key is malformed.
    pub fn issue(&self, node: NodeId, public_key: &[u8]) -> Result<Vec<u8>> {
        let key = PublicKey::parse(public_key)?;
        let name = node_name(self.cluster, node);
        let mut params = CertificateParams::new([name.clone()]).map_err(failed)?;
        params.distinguished_name = common_name(&name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, NODE_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.der().clone();
        tls::check_chain(&certificate, std::slice::from_ref(&self.certificate))?;
        Ok(certificate.to_vec())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// A node's key pair, before it has a certificate.
#[derive(Debug)]
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// Makes a key pair.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(failed)
    }

    /// The half that may be shown, to be signed by [`Authority::issue`].
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key_raw()
    }

    /// Writes what the node needs to take part: its key, its certificate and the CA's (both DER).
    ///
    /// # Errors
    /// When there are such files already, or they cannot be written.
    pub fn save(&self, certificate: &[u8], ca: &[u8], files: &CertificateFiles) -> Result<()> {
        write_new(&files.node_key, &pem("PRIVATE KEY", self.0.serialized_der()), KEY_MODE)?;
        write_new(&files.node, &pem("CERTIFICATE", certificate), CERTIFICATE_MODE)?;
        if files.ca.exists() && read_certificates(&files.ca)?.iter().any(|known| known.as_ref() == ca) {
            return Ok(());
        }
        write_new(&files.ca, &pem("CERTIFICATE", ca), CERTIFICATE_MODE)
    }
}

/// Makes the CA of a new cluster and the certificate of its first node.
///
/// # Errors
/// When there are certificates already, or files cannot be written.
pub fn create_cluster(folder: &Path, cluster: ClusterId, node: NodeId) -> Result<Authority> {
    fs::create_dir_all(folder)
        .map_err(|error| TransportError::io(format!("create {}", folder.display()), error))?;
    let files = CertificateFiles::of(folder);
    let authority = Authority::create(cluster)?;
    authority.save(&files)?;
    let key = NodeKey::generate()?;
    let certificate = authority.issue(node, key.public_key())?;
    key.save(&certificate, authority.certificate(), &files)?;
    Ok(authority)
}

/// Reads the key of a cluster's CA, to be given to a node that joins: it may let others join then.
///
/// # Errors
/// When the file cannot be read.
pub fn authority_key(folder: &Path) -> Result<String> {
    let path = CertificateFiles::of(folder).ca_key;
    let text = String::from_utf8(read(&path)?);
    text.map_err(|_| TransportError::Certificate(format!("{} is not a PEM file", path.display())))
}

/// Writes the CA's key that another node gave, beside the CA's certificate.
///
/// # Errors
/// When there is a key already, it cannot be written, or it is not this CA's.
pub fn adopt_authority(folder: &Path, cluster: ClusterId, key: &str) -> Result<Authority> {
    let files = CertificateFiles::of(folder);
    write_new(&files.ca_key, key, KEY_MODE)?;
    Authority::load(&files, cluster)
}

/// Reads all certificates of a PEM file; there is at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let bad = |reason: String| TransportError::Certificate(format!("{}: {reason}", path.display()));
    let certificates = certificates.map_err(|error| bad(error.to_string()))?;
    if certificates.is_empty() {
        Err(bad("there is no certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}

/// Reads the key of a PEM file that nobody else can read.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let mode = fs::metadata(path)
        .map_err(|error| TransportError::io(format!("read {}", path.display()), error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(TransportError::KeyIsOpen(path.to_owned()));
    }
    PrivatePkcs8KeyDer::from_pem_slice(&read(path)?)
        .map(PrivateKeyDer::Pkcs8)
        .map_err(|error| TransportError::Certificate(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| TransportError::io(format!("read {}", path.display()), error))
}

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Writes a file that must not be there yet, and makes it durable.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| TransportError::io(format!("write {}", path.display()), error))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..body.len()).step_by(64).map(|start| &body[start..body.len().min(start + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn failed(error: impl Display) -> TransportError {
    TransportError::Certificate(format!("could not make a certificate: {error}"))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The CA's certificate, but for its key: signing needs no more of it than this.
fn ca_params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("shardforge cluster {cluster}"));
    // It signs nodes, not other CAs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_DAYS);
    params
}

fn set_validity(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SLACK);
    params.not_after = epoch + now + Duration::from_secs(days * 24 * 3600);
}

/// A point of P-256, as a node that joins sends it.
struct PublicKey(Vec<u8>);

impl PublicKey {
    fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != PUBLIC_KEY_BYTES || bytes[0] != 4 {
            return Err(TransportError::Certificate("the public key is not one of P-256".to_owned()));
        }
        Ok(Self(bytes.to_vec()))
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use shardforge_runtime::NodeId;
    use tokio_rustls::rustls::pki_types::CertificateDer;

    use super::{Authority, CertificateFiles, NodeKey, adopt_authority, authority_key, create_cluster};
    use crate::error::TransportError;
    use crate::identity::ClusterId;
    use crate::tls;

    #[test]
    fn a_node_is_given_the_key_of_its_ca_and_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (ClusterId::random(), ClusterId::random());
        let path = |name: &str| folder.path().join(name);
        create_cluster(&path("first"), ours, NodeId(1)).unwrap();
        create_cluster(&path("other"), theirs, NodeId(1)).unwrap();
        for (source, fits) in [("first", true), ("other", false)] {
            let joined = path(&format!("joined after {source}"));
            fs::create_dir_all(&joined).unwrap();
            fs::copy(CertificateFiles::of(&path("first")).ca, CertificateFiles::of(&joined).ca).unwrap();
            let adopted = adopt_authority(&joined, ours, &authority_key(&path(source)).unwrap());
            assert_eq!(adopted.is_ok(), fits, "{source}");
        }
    }

    #[test]
    fn a_cluster_begins_with_a_ca_and_a_node() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cluster) = (folder.path().join("certs"), ClusterId::random());
        let made = create_cluster(&path, cluster, NodeId(1)).unwrap();
        let files = CertificateFiles::of(&path);
        for (file, mode) in
            [(&files.ca, 0o644), (&files.ca_key, 0o600), (&files.node, 0o644), (&files.node_key, 0o600)]
        {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, mode, "{}", file.display());
        }
        let loaded = Authority::load(&files, cluster).unwrap();
        assert_eq!(loaded.certificate(), made.certificate());
        let certificates = super::read_certificates(&files.node).unwrap();
        assert!(tls::names_node(&certificates[0], cluster, NodeId(1)));
        assert!(!tls::names_node(&certificates[0], cluster, NodeId(11)));
        assert!(!tls::names_node(&certificates[0], ClusterId::random(), NodeId(1)));

        let again = create_cluster(&path, cluster, NodeId(1));
        assert!(again.is_err(), "what is there is never overwritten");
        assert_eq!(fs::read(&files.ca).unwrap(), super::pem("CERTIFICATE", made.certificate()).as_bytes());
    }

    #[test]
    fn certificates_come_from_the_ca_alone() {
        let cluster = ClusterId::random();
        let (ours, other) = (Authority::create(cluster).unwrap(), Authority::create(cluster).unwrap());
        let key = NodeKey::generate().unwrap();
        let certificate = CertificateDer::from(ours.issue(NodeId(2), key.public_key()).unwrap());
        let ca = |authority: &Authority| CertificateDer::from(authority.certificate().to_vec());
        assert!(tls::check_chain(&certificate, &[ca(&ours)]).is_ok());
        assert!(tls::check_chain(&certificate, &[ca(&other)]).is_err());
        assert!(tls::check_chain(&certificate, &[ca(&other), ca(&ours)]).is_ok(), "while the CA is replaced");
        for wrong in [&b""[..], &[4; 64], &[4; 66], &[2; 65]] {
            assert!(matches!(ours.issue(NodeId(2), wrong), Err(TransportError::Certificate(_))));
        }
    }

    #[test]
    fn keys_that_others_can_read_or_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = ClusterId::random();
        create_cluster(folder.path(), cluster, NodeId(1)).unwrap();
        let files = CertificateFiles::of(folder.path());

        let error = Authority::load(&files, ClusterId::random()).unwrap_err();
        assert!(error.to_string().contains("do not belong together"), "{error}");
        let mixed = CertificateFiles { ca_key: files.node_key.clone(), ..files.clone() };
        let error = Authority::load(&mixed, cluster).unwrap_err();
        assert!(error.to_string().contains("do not belong together"), "{error}");

        fs::set_permissions(&files.ca_key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Authority::load(&files, cluster).unwrap_err();
        assert!(matches!(error, TransportError::KeyIsOpen(_)), "{error}");
        assert!(error.to_string().ends_with("must be 0600"), "{error}");
    }
}
