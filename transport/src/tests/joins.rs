//! Joining by a token.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use parking_lot::Mutex;
use shardforge_runtime::{Network, NodeId, Traffic};
use tempfile::TempDir;
use tonic::Request;
use tonic::client::Grpc;

use super::{CLUSTER, ONE, TWO, bind, connected, echo, options, text};
use crate::certificates::{Authority, create_cluster, fingerprint};
use crate::codec::{EXCHANGE_PATH, RawCodec};
use crate::credentials::Credentials;
use crate::dial::{DialTls, dial};
use crate::error::TransportError;
use crate::handshake::{Hello, Parties, VERSION};
use crate::join::{Admission, JoinHandler, JoinRequest, join};
use crate::limits::Timing;
use crate::shared::{Security, TransportOptions};
use crate::tls;
use crate::token::{JoinToken, TokenRecord};
use crate::transport::Transport;

/// Admits nodes as a cluster does, with its tokens in memory.
struct Registry {
    authority: Option<Authority>,
    tokens: Mutex<Vec<TokenRecord>>,
    now: u64,
}

impl Registry {
    fn admit(&self, request: &JoinRequest) -> Result<Admission, String> {
        let mut tokens = self.tokens.lock();
        let place = tokens.iter().position(|token| token.id == request.credential.id);
        let place = place.ok_or("the join token is not known here")?;
        tokens[place].verify(&request.credential, self.now).map_err(|error| error.to_string())?;
        tokens.remove(place);
        let (certificate, ca) = match &self.authority {
            None => (Vec::new(), Vec::new()),
            Some(authority) => {
                let issued = authority.issue(TWO, &request.public_key);
                (issued.map_err(|error| error.to_string())?, authority.certificate().to_vec())
            }
        };
        let payload = [b"welcome ", request.payload.as_ref()].concat();
        Ok(Admission { cluster: CLUSTER, node: TWO.0, certificate, ca, payload })
    }
}

impl JoinHandler for Registry {
    fn join(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admission, String>> {
        std::future::ready(self.admit(&request)).boxed()
    }
}

/// A cluster of one node, which lets others join by the tokens that are given.
async fn cluster(now: u64) -> (TempDir, Transport, Arc<Registry>) {
    let folder = tempfile::tempdir().unwrap();
    let authority = create_cluster(folder.path(), CLUSTER, ONE).unwrap();
    let credentials = Credentials::open(folder.path(), CLUSTER, ONE).unwrap();
    let one = bind(TransportOptions { security: Security::Tls(credentials), ..options(ONE) }).await;
    let registry = Arc::new(Registry { authority: Some(authority), tokens: Mutex::default(), now });
    one.serve_joins(Arc::clone(&registry) as Arc<dyn JoinHandler>);
    (folder, one, registry)
}

impl Registry {
    fn token(&self, expires_at: u64) -> JoinToken {
        let ca = self.authority.as_ref().map(|authority| fingerprint(authority.certificate()));
        let token = JoinToken::new(ca, expires_at).unwrap();
        self.tokens.lock().push(token.record());
        token
    }
}

async fn refusal(one: &Transport, token: &JoinToken) -> String {
    let error = join(&one.address().to_string(), token, Bytes::new()).await.unwrap_err();
    assert!(matches!(error, TransportError::JoinRefused { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_node_joins_with_a_token_and_takes_part() {
    let (_folder, one, registry) = cluster(100).await;
    let token = registry.token(200);
    let joined = join(&one.address().to_string(), &token, text("n2 at host:7432")).await.unwrap();
    assert_eq!((joined.node(), joined.admission.cluster), (TWO, CLUSTER));
    assert_eq!(joined.admission.payload, b"welcome n2 at host:7432");
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certs");
    joined.save(&certificates).unwrap();
    let credentials = Credentials::open(&certificates, CLUSTER, TWO).unwrap();
    let two = bind(TransportOptions { security: Security::Tls(credentials), ..options(TWO) }).await;
    echo(&one);
    two.set_peer(ONE, &one.address().to_string());
    connected(&two, ONE).await;
    assert_eq!(two.call(ONE, Traffic::Request, text("hello")).await.unwrap(), "hello");

    // A token is good for one node.
    let again = refusal(&one, &token).await;
    assert!(again.ends_with("did not let this node join: the join token is not known here"), "{again}");
}

#[tokio::test]
async fn tokens_that_are_wrong_late_or_of_another_cluster_let_nobody_in() {
    let (_folder, one, registry) = cluster(100).await;
    let late = registry.token(100);
    assert!(refusal(&one, &late).await.ends_with("the join token has expired"));

    let ca = registry.authority.as_ref().map(|authority| fingerprint(authority.certificate()));
    let unknown = JoinToken::new(ca, 200).unwrap();
    assert!(refusal(&one, &unknown).await.ends_with("the join token is not known here"));

    // One that a joining node was given for another cluster: it does not even show its secret.
    let elsewhere = JoinToken::new(Some([9; 32]), 200).unwrap();
    let reason = refusal(&one, &elsewhere).await;
    assert!(reason.contains("TLS") && reason.contains("UnknownIssuer"), "{reason}");
    assert_eq!(registry.tokens.lock().len(), 1, "nothing was used up");
}

#[tokio::test]
async fn a_node_without_certificate_can_do_nothing_but_join() {
    let (_folder, one, registry) = cluster(100).await;
    echo(&one);
    let token = registry.token(200);
    let (address, timing) = (one.address().to_string(), Timing::default());
    let tls = tls::joining_config(token.ca().unwrap()).unwrap();
    let tls = DialTls::With(tls, "join.shardforge".try_into().unwrap());
    let mut connection = dial(&address, tls, &timing).await.unwrap();
    let parties = Parties { cluster: CLUSTER, from: NodeId(5), to: ONE };
    let hello = Hello { version: VERSION, parties, traffic: Traffic::Request };
    let mut request = Request::new(futures::stream::pending::<Bytes>());
    hello.write(request.metadata_mut());
    let origin = Uri::from_static("http://n1.shardforge/");
    let mut client = Grpc::with_origin(&mut connection, origin);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(EXCHANGE_PATH);
    let refused = client.streaming(request, path, RawCodec::<Bytes>::default()).await;
    assert_eq!(refused.err().unwrap().message(), "refused: n5 has no certificate");
}

#[tokio::test]
async fn a_node_that_serves_no_joins_says_so_and_without_tls_a_token_works_as_well() {
    let one = bind(options(ONE)).await;
    let registry = Arc::new(Registry { authority: None, tokens: Mutex::default(), now: 100 });
    let token = registry.token(200);
    assert!(refusal(&one, &token).await.ends_with("nodes cannot join through this one"));
    one.serve_joins(Arc::clone(&registry) as Arc<dyn JoinHandler>);
    let joined = join(&one.address().to_string(), &token, Bytes::new()).await.unwrap();
    assert_eq!(joined.node(), TWO);
    let folder = tempfile::tempdir().unwrap();
    joined.save(folder.path()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "there is nothing to write");
}
