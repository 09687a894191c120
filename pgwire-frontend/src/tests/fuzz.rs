//! Damaged conversations: whatever arrives, the server neither panics nor hangs, and all that it sends
//! is well-formed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::backend::ToyBackend;
use super::wire;
use crate::{Frontend, FrontendOptions};

/// Messages of a client that behaves.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let sql = prop_oneof![
        Just("rows 3"),
        Just("begin"),
        Just("commit"),
        Just("error"),
        Just("copyin"),
        Just("copyout 2"),
        Just("copybad"),
        Just("echo"),
        Just(""),
        Just("big 100000"),
    ];
    let name = prop_oneof![Just(""), Just("a"), Just("b")];
    prop_oneof![
        sql.clone().prop_map(wire::query),
        (name.clone(), sql).prop_map(|(name, sql)| wire::parse(name, sql)),
        (name.clone(), name.clone()).prop_map(|(portal, statement)| wire::bind(
            portal,
            statement,
            &[(0, Some(b"1")), (1, None)],
            &[1]
        )),
        (name.clone(), 0..3i32).prop_map(|(portal, max_rows)| wire::execute(portal, max_rows)),
        (prop_oneof![Just(b'D'), Just(b'C')], prop_oneof![Just(b'S'), Just(b'P')], name)
            .prop_map(|(kind, target, name)| wire::about(kind, target, name)),
        Just(wire::message(b'S', b"")),
        Just(wire::message(b'H', b"")),
        Just(wire::message(b'd', b"1\t2\n")),
        Just(wire::message(b'c', b"")),
        Just(wire::message(b'f', b"why\0")),
        Just(wire::message(b'F', &[0; 10])),
    ]
}

/// What happens to a stream of messages on its way.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: usize, bits: u8 },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Remove { at: usize, count: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        any::<usize>().prop_map(|at| Damage::Cut { at }),
        (any::<usize>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        (any::<usize>(), 1..9usize).prop_map(|(at, count)| Damage::Remove { at, count }),
    ]
}

impl Damage {
    fn apply(&self, stream: &mut Vec<u8>) {
        if stream.is_empty() {
            return;
        }
        let within = |at: &usize| at % stream.len();
        match self {
            Damage::Flip { at, bits } => {
                let at = within(at);
                stream[at] ^= bits;
            }
            Damage::Cut { at } => stream.truncate(within(at)),
            Damage::Insert { at, bytes } => {
                let at = within(at);
                stream.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove { at, count } => {
                let at = within(at);
                let end = stream.len().min(at + count);
                stream.drain(at..end);
            }
        }
    }
}

/// Sends a stream in pieces, closes it, and reads all that comes back.
fn converse(stream: &[u8], piece: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let frontend = Frontend::new(Arc::new(ToyBackend), FrontendOptions::default());
        let (client, server) = duplex(1 << 22);
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let served = tokio::spawn({
            let frontend = frontend.clone();
            async move { frontend.serve_stream(server, peer).await }
        });
        let (mut reader, mut writer) = tokio::io::split(client);
        let mut received = vec![];
        let all = async {
            let send = async {
                for piece in stream.chunks(piece) {
                    // The server may have hung up already.
                    if writer.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                let _ = writer.shutdown().await;
            };
            tokio::join!(send, reader.read_to_end(&mut received)).1.expect("a pipe can be read");
            served.await.expect("a connection's task does not panic");
        };
        timeout(Duration::from_secs(60), all).await.expect("the connection ends");
        assert_eq!(frontend.metrics().panics_total(), 0);
        assert!(frontend.registry().is_empty());
        let mut lines = vec![];
        while let Some((kind, body)) = wire::split(&mut received) {
            lines.push(wire::show(kind, &body));
        }
        assert!(received.is_empty(), "half a message at the end");
        lines
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_good_conversation_is_never_fatal(messages in vec(message(), 0..30), piece in 1..200usize) {
        let mut stream = wire::startup(3 << 16, &[("user", "alice")]);
        stream.extend(messages.concat());
        stream.extend(wire::message(b'X', b""));
        let lines = converse(&stream, piece);
        // A COPY that waits for data takes other messages for a mistake, the farewell too.
        prop_assert!(lines.iter().all(|line| !line.contains("S FATAL")), "{lines:?}");
    }

    #[test]
    fn a_damaged_conversation_ends(
        messages in vec(message(), 0..20),
        damages in vec(damage(), 1..6),
        piece in 1..200usize,
        whole in any::<bool>(),
    ) {
        let start = wire::startup(3 << 16, &[("user", "alice"), ("options", "-c a=b")]);
        let mut stream = messages.concat();
        if whole {
            stream.splice(0..0, start);
            damages.iter().for_each(|damage| damage.apply(&mut stream));
        } else {
            damages.iter().for_each(|damage| damage.apply(&mut stream));
            stream.splice(0..0, start);
        }
        converse(&stream, piece);
    }

    #[test]
    fn noise_ends(stream in vec(any::<u8>(), 0..400), started in any::<bool>(), user in "secretive|alice") {
        let mut bytes = if started { wire::startup(3 << 16, &[("user", &user)]) } else { vec![] };
        bytes.extend(stream);
        converse(&bytes, 64);
    }

    #[test]
    fn scram_takes_anything(first in "\\PC{0,60}", last in "[a-z=,+/A-Z0-9]{0,80}") {
        let mut bytes = wire::startup(3 << 16, &[("user", "nobody")]);
        let opening = format!("n,,n=,r={first}");
        let length = (opening.len() as u32).to_be_bytes();
        bytes.extend(wire::message(
            b'p',
            &[b"SCRAM-SHA-256\0".as_slice(), &length, opening.as_bytes()].concat(),
        ));
        bytes.extend(wire::message(b'p', last.as_bytes()));
        let lines = converse(&bytes, 64);
        prop_assert!(lines.iter().all(|line| line != "AuthenticationOk"), "{lines:?}");
    }
}
