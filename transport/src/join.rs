//! Joining: a node that has nothing but a token asks a node of the cluster for a certificate.
//!
//! ```text
//!   the new node                                      a node of the cluster
//!     makes a key                                        has the CA's key
//!     dials; accepts the CA of the token's fingerprint
//!     ---- the token's secret, its public key, and what the caller adds ---->  JoinHandler: checks the token,
//!     <--- cluster, node id, certificate, CA, and what the handler adds ----   uses it up, issues a certificate
//!     checks the certificate
//! ```
//!
//! It is the one request that is answered without a certificate. Whether the token is good, and what a node is
//! admitted as, is the handler's matter; the parts for it are in `token.rs` and `certificates.rs`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shardforge_runtime::NodeId;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tonic::Request;
use tonic::client::Grpc;

use crate::certificates::{CertificateFiles, NodeKey, fingerprint};
use crate::codec::{JOIN_PATH, RawCodec};
use crate::dial::{Connection, DialTls, dial, status_text};
use crate::error::TransportError;
use crate::identity::ClusterId;
use crate::limits::{JOIN_SIZE_MAX_BYTES, JOIN_TIME_MAX, Timing};
use crate::tls;
use crate::token::{JoinToken, TokenCredential};

/// The form of the messages below.
const VERSION: u8 = 1;

/// What a node that wants to join says.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// What it has of the token.
    pub credential: TokenCredential,
    /// Its public key.
    pub public_key: Vec<u8>,
    /// What it adds: its addresses, say.
    pub payload: Bytes,
    /// Where it calls from.
    pub from: SocketAddr,
}

/// What a node is admitted as.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// The cluster.
    pub cluster: ClusterId,
    /// The new node's id, as a number.
    pub node: u64,
    /// Its certificate, DER; empty where there is no TLS.
    pub certificate: Vec<u8>,
    /// The CA's certificate, DER; empty where there is no TLS.
    pub ca: Vec<u8>,
    /// What the handler adds: who the other nodes are, say.
    pub payload: Vec<u8>,
}

/// Who decides whether a node may join.
pub trait JoinHandler: Send + Sync {
    /// Admits a node, or says why not. The token must be used up before the admission is given.
    fn join(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admission, String>>;
}

/// A node that has been admitted.
#[derive(Debug)]
pub struct Joined {
    /// What it was admitted as.
    pub admission: Admission,
    key: NodeKey,
}

impl Joined {
    /// Its id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.admission.node)
    }

    /// Writes its key and certificates into a folder. There is nothing to write where there is no TLS.
    ///
    /// # Errors
    /// When there are such files already, or they cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TransportError> {
        if self.admission.certificate.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(folder)
            .map_err(|error| TransportError::io(format!("create {}", folder.display()), error))?;
        self.key.save(&self.admission.certificate, &self.admission.ca, &CertificateFiles::of(folder))
    }
}

#[derive(Serialize, Deserialize)]
struct Call {
    credential: TokenCredential,
    public_key: Vec<u8>,
    payload: Vec<u8>,
}

/// Asks the node at `address` (HOST:PORT) to let this one join, by a token. `payload` goes to its [`JoinHandler`].
///
/// # Errors
/// When it cannot be reached, is not of the token's cluster, or refuses.
pub async fn join(address: &str, token: &JoinToken, payload: Bytes) -> Result<Joined, TransportError> {
    let refused = |reason: String| TransportError::JoinRefused { address: address.to_owned(), reason };
    let key = NodeKey::generate()?;
    let tls = match token.ca() {
        None => DialTls::None,
        Some(ca) => {
            // The name does not matter: any node of the cluster will do.
            let name = ServerName::try_from("join.shardforge").map_err(|error| refused(error.to_string()))?;
            DialTls::With(tls::joining_config(ca)?, name)
        }
    };
    let connection = dial(address, tls, &Timing::default()).await.map_err(refused)?;
    let credential = token.credential().clone();
    let call = Call { credential, public_key: key.public_key().to_vec(), payload: payload.to_vec() };
    let call = encode(&call).map_err(refused)?;
    let answer = match tokio::time::timeout(JOIN_TIME_MAX, ask(connection, call)).await {
        Ok(answer) => answer.map_err(refused)?,
        Err(_elapsed) => return Err(refused(format!("no answer within {JOIN_TIME_MAX:?}"))),
    };
    let admission: Admission = decode(&answer).map_err(refused)?;
    if let Some(ca) = token.ca() {
        if fingerprint(&admission.ca) != ca {
            return Err(refused("its CA is not the one that the token speaks of".to_owned()));
        }
        let certificate = CertificateDer::from(admission.certificate.as_slice());
        tls::check_chain(&certificate, &[CertificateDer::from(admission.ca.clone())])?;
        if !tls::names_node(&certificate, admission.cluster, NodeId(admission.node)) {
            return Err(refused("the certificate that it gave is another node's".to_owned()));
        }
    }
    Ok(Joined { admission, key })
}

async fn ask(mut connection: Connection, call: Bytes) -> Result<Bytes, String> {
    let origin = Uri::from_static("http://join.shardforge/");
    let mut client =
        Grpc::with_origin(&mut connection, origin).max_decoding_message_size(JOIN_SIZE_MAX_BYTES);
    client.ready().await.map_err(|error| error.to_string())?;
    let path = PathAndQuery::from_static(JOIN_PATH);
    let response = client.unary(Request::new(call), path, RawCodec::<Bytes>::default()).await;
    response.map(tonic::Response::into_inner).map_err(|status| status_text(&status))
}

/// Reads a request to join.
pub(crate) fn read_call(call: &[u8], from: SocketAddr) -> Result<JoinRequest, String> {
    let Call { credential, public_key, payload } = decode(call)?;
    Ok(JoinRequest { credential, public_key, payload: Bytes::from(payload), from })
}

/// Writes an answer to one.
pub(crate) fn write_admission(admission: &Admission) -> Result<Bytes, String> {
    encode(admission)
}

fn encode(message: &impl Serialize) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(VERSION);
    let body = bincode::serde::encode_to_vec(message, bincode::config::standard());
    bytes.put_slice(&body.map_err(|error| error.to_string())?);
    if bytes.len() > JOIN_SIZE_MAX_BYTES {
        return Err(format!("{} bytes are too many to join with", bytes.len()));
    }
    Ok(bytes.freeze())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err("the message to join has a form that is not known here".to_owned());
    };
    let config = bincode::config::standard().with_limit::<JOIN_SIZE_MAX_BYTES>();
    match bincode::serde::decode_from_slice(body, config) {
        Ok((message, length)) if length == body.len() => Ok(message),
        Ok(_) => Err("the message to join is followed by something else".to_owned()),
        Err(error) => Err(format!("the message to join is malformed: {error}")),
    }
}
