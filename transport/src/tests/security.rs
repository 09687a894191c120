//! Who is let in: clusters, certificates, impostors.

use std::path::Path;

use shardforge_runtime::{Network, NodeId, Traffic};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxy::Proxy;
use super::{CLUSTER, ONE, TWO, bind, connected, down, echo, options, pair, text, until};
use crate::certificates::{Authority, CertificateFiles, NodeKey, create_cluster};
use crate::credentials::Credentials;
use crate::identity::ClusterId;
use crate::peer::Peer;
use crate::shared::{Security, Shared, TransportOptions};
use crate::status::LinkState;
use crate::transport::Transport;

/// Writes the files of a further node of a cluster.
pub(super) fn add_node(authority: &Authority, node: NodeId) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = NodeKey::generate().unwrap();
    let certificate = authority.issue(node, key.public_key()).unwrap();
    key.save(&certificate, authority.certificate(), &CertificateFiles::of(folder.path())).unwrap();
    folder
}

/// The files of two nodes of a new cluster.
pub(super) fn two_nodes() -> (Authority, TempDir, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let authority = create_cluster(folder.path(), CLUSTER, ONE).unwrap();
    let second = add_node(&authority, TWO);
    (authority, folder, second)
}

pub(super) fn tls(folder: &Path, node: NodeId) -> TransportOptions {
    let credentials = Credentials::open(folder, CLUSTER, node).unwrap();
    TransportOptions { security: Security::Tls(credentials), ..options(node) }
}

fn introduce(one: &Transport, two: &Transport) {
    echo(two);
    one.set_peer(TWO, &two.address().to_string());
}

#[tokio::test]
async fn nodes_with_certificates_of_one_ca_talk() {
    let (_authority, first, second) = two_nodes();
    let (one, two) = (bind(tls(first.path(), ONE)).await, bind(tls(second.path(), TWO)).await);
    introduce(&one, &two);
    for traffic in Traffic::ALL {
        assert_eq!(one.call(TWO, traffic, text("secret")).await.unwrap(), "secret");
    }
}

#[tokio::test]
async fn nodes_of_another_cluster_are_refused() {
    let two = bind(options(TWO)).await;
    let stranger = bind(TransportOptions { cluster: ClusterId(7), ..options(ONE) }).await;
    introduce(&stranger, &two);
    let reason = down(&stranger, TWO).await;
    let expected = format!("refused: n1 is of cluster {}, and this is cluster {CLUSTER}", ClusterId(7));
    assert_eq!(reason, expected, "the one who is refused learns why");
    let counts = stranger.peer(TWO).unwrap().link(Traffic::Control).counts;
    assert!(counts.connects == 0 && counts.failed_connects >= 1, "{counts:?}");
    let error = stranger.call(TWO, Traffic::Raft, text("x")).await.unwrap_err();
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[tokio::test]
async fn a_node_that_is_not_the_one_at_the_address_is_noticed() {
    let (one, three) = (bind(options(ONE)).await, bind(options(NodeId(3))).await);
    introduce(&one, &three);
    assert_eq!(down(&one, TWO).await, "refused: n1 looks for n2, and this is n3");
}

#[tokio::test]
async fn certificates_of_another_ca_are_refused_by_both_sides() {
    let (_authority, first, second) = two_nodes();
    let (_other, foreign_first, _foreign_second) = two_nodes();
    let two = bind(tls(second.path(), TWO)).await;
    let foreign = bind(tls(foreign_first.path(), ONE)).await;
    introduce(&foreign, &two);
    let reason = down(&foreign, TWO).await;
    assert!(reason.starts_with("TLS: invalid peer certificate"), "{reason}");

    // One that trusts our CA, and shows a certificate of its own: it is not accepted.
    let files = CertificateFiles::of(foreign_first.path());
    let both = [&files.ca, &CertificateFiles::of(first.path()).ca]
        .map(|path| std::fs::read_to_string(path).unwrap())
        .concat();
    std::fs::write(&files.ca, both).unwrap();
    let foreign = bind(tls(foreign_first.path(), ONE)).await;
    introduce(&foreign, &two);
    down(&foreign, TWO).await;
    assert!(foreign.call(TWO, Traffic::Raft, text("x")).await.is_err());
}

#[tokio::test]
async fn a_node_cannot_pass_for_another() {
    let (authority, first, second) = two_nodes();
    let two = bind(tls(second.path(), TWO)).await;
    // A node with a good certificate, n3's, that says that it is n1.
    let third = add_node(&authority, NodeId(3));
    let own = Credentials::open(third.path(), CLUSTER, NodeId(3)).unwrap();
    let error = Transport::bind(TransportOptions { security: Security::Tls(own), ..options(ONE) }).await;
    assert!(error.unwrap_err().to_string().starts_with("the certificates are those of n3 of cluster "));

    let third_options = tls(third.path(), NodeId(3));
    let impostor = TransportOptions { node: ONE, ..third_options };
    let shared = Shared::new(impostor);
    let peer = Peer::new(&shared, TWO, &two.address().to_string());
    let mut state = peer.link(Traffic::Control).state();
    let state = state.wait_for(|state| state.name() == "down").await.unwrap().clone();
    assert_eq!(state, LinkState::Down("refused: the certificate is not that of n1".to_owned()));

    // And one that answers at n2's address cannot pass for n2: its certificate has another name.
    let three = bind(tls(third.path(), NodeId(3))).await;
    let one = bind(tls(first.path(), ONE)).await;
    introduce(&one, &three);
    let reason = down(&one, TWO).await;
    assert!(reason.starts_with("TLS: invalid peer certificate") && reason.contains("name"), "{reason}");
}

#[tokio::test]
async fn tls_and_plaintext_do_not_mix() {
    let (_authority, first, second) = two_nodes();
    let two = bind(tls(second.path(), TWO)).await;
    let plain = bind(options(ONE)).await;
    introduce(&plain, &two);
    down(&plain, TWO).await;
    let plain = bind(options(TWO)).await;
    let one = bind(tls(first.path(), ONE)).await;
    introduce(&one, &plain);
    down(&one, TWO).await;
}

#[tokio::test]
async fn new_certificates_are_used_by_the_next_connection() {
    let (_authority, first, second) = two_nodes();
    let one = bind(tls(first.path(), ONE)).await;
    let (two, proxy) = (bind(tls(second.path(), TWO)).await, Proxy::start().await);
    echo(&two);
    proxy.lead_to(Some(two.address()));
    one.set_peer(TWO, &proxy.address.to_string());
    connected(&one, TWO).await;

    // The cluster moves to another CA: first every node trusts both, then the nodes' certificates follow.
    let next = Authority::create(CLUSTER).unwrap();
    let renew = |folder: &Path, node| {
        let (new, files) = (add_node(&next, node), CertificateFiles::of(folder));
        let source = CertificateFiles::of(new.path());
        let both = [std::fs::read(&source.ca).unwrap(), std::fs::read(&files.ca).unwrap()].concat();
        std::fs::write(&files.ca, both).unwrap();
        std::fs::rename(&source.node_key, &files.node_key).unwrap();
        std::fs::rename(&source.node, &files.node).unwrap();
    };
    renew(second.path(), TWO);
    renew(first.path(), ONE);
    assert_eq!(one.call(TWO, Traffic::Control, text("old")).await.unwrap(), "old", "connections go on");
    // n2 starts anew, with n1 running: each takes the other's new certificate.
    proxy.lead_to(None);
    drop(two);
    down(&one, TWO).await;
    let two = bind(tls(second.path(), TWO)).await;
    echo(&two);
    proxy.lead_to(Some(two.address()));
    connected(&one, TWO).await;
    assert_eq!(one.call(TWO, Traffic::Raft, text("new")).await.unwrap(), "new");
}

#[tokio::test]
async fn a_node_that_was_removed_is_not_let_in_again() {
    let (one, two) = pair().await;
    assert_eq!(one.call(TWO, Traffic::Raft, text("x")).await.unwrap(), "x");
    two.set_peer(ONE, &one.address().to_string());
    two.expel(ONE);
    assert!(two.peers().is_empty());
    // Its connections are closed, and when it dials again it learns why.
    let refused = |state: &LinkState| matches!(state, LinkState::Down(why) if why.starts_with("refused: "));
    let state = until(&one, TWO, Traffic::Control, refused).await;
    assert_eq!(state, LinkState::Down("refused: n1 was removed from the cluster".to_owned()));
    assert!(one.call(TWO, Traffic::Raft, text("x")).await.is_err());
}

#[tokio::test]
async fn what_is_not_of_the_protocol_harms_nothing() {
    let (_authority, first, second) = two_nodes();
    for (one, two) in [
        (bind(options(ONE)).await, bind(options(TWO)).await),
        (bind(tls(first.path(), ONE)).await, bind(tls(second.path(), TWO)).await),
    ] {
        introduce(&one, &two);
        connected(&one, TWO).await;
        let messages: [&[u8]; 4] = [
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            &[0xff; 9_000],
        ];
        for message in messages {
            let mut socket = TcpStream::connect(two.address()).await.unwrap();
            // It may be closed before all of it is written.
            let _ = socket.write_all(message).await;
            let _ = socket.shutdown().await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        assert_eq!(one.call(TWO, Traffic::Raft, text("x")).await.unwrap(), "x");
        assert_eq!(one.peer(TWO).unwrap().link(Traffic::Control).counts.connects, 1);
    }
}
