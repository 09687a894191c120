//! How the two ends of a tunnel introduce themselves, before its first byte.
//!
//! ```text
//!   caller   "SFTUNNEL" | major u8 | minor u8 | size u16 | cluster u128 | from u64 | to u64
//!   callee   "SFTUNNEL" | major u8 | minor u8 | size u16 | verdict u8 | cluster u128 | from u64 | text
//! ```
//!
//! Numbers are big-endian. A later minor version may append to what `size` counts; what is not known is passed over. The
//! first byte tells a tunnel from HTTP/2, which begins with `PRI`, where there is no TLS to do so by its ALPN.

use std::io;

use shardforge_runtime::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::handshake::{Parties, VERSION, Version};
use crate::identity::ClusterId;

const MAGIC: &[u8; 8] = b"SFTUNNEL";
const HEAD_BYTES: usize = 12;
const CALL_BYTES: usize = 32;
const ANSWER_BYTES: usize = 25;

/// What comes after the head may not be longer.
const BODY_BYTES_MAX: usize = 1024;

/// Whether a connection without TLS begins as tunnels do.
pub(crate) fn begins_tunnel(first: u8) -> bool {
    first == MAGIC[0]
}

/// What the one who is called says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// What follows are the tunnel's bytes.
    Open = 0,
    /// The caller may not talk to this node.
    Refused = 1,
    /// There are too many tunnels.
    Busy = 2,
    /// Nobody takes tunnels here yet.
    Unserved = 3,
}

impl Verdict {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Open, Self::Refused, Self::Busy, Self::Unserved].into_iter().find(|known| *known as u8 == code)
    }

    fn error_kind(self) -> io::ErrorKind {
        match self {
            Self::Busy => io::ErrorKind::ResourceBusy,
            Self::Refused => io::ErrorKind::PermissionDenied,
            Self::Open | Self::Unserved => io::ErrorKind::ConnectionRefused,
        }
    }
}

fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<()> {
    let size = u16::try_from(body.len()).map_err(|_| malformed("an introduction is too long"))?;
    let mut message = Vec::with_capacity(HEAD_BYTES + body.len());
    message.extend_from_slice(MAGIC);
    message.extend_from_slice(&[VERSION.major, VERSION.minor]);
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(body);
    to.write_all(&message).await?;
    to.flush().await
}

/// Reads an introduction of at least `size_min` bytes after its head.
async fn read(from: &mut (impl AsyncRead + Unpin), size_min: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await?;
    let (magic, rest) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(malformed("it does not begin as a tunnel does"));
    }
    Version { major: rest[0], minor: rest[1] }.check().map_err(malformed)?;
    let size = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    if !(size_min..=BODY_BYTES_MAX).contains(&size) {
        return Err(malformed(format!("an introduction of {size} bytes")));
    }
    let mut body = vec![0; size];
    from.read_exact(&mut body).await?;
    Ok(body)
}

fn number<const N: usize>(body: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&body[at..at + N]);
    bytes
}

/// The caller's part.
pub(crate) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    parties: Parties,
) -> io::Result<()> {
    let mut body = Vec::with_capacity(CALL_BYTES);
    body.extend_from_slice(&parties.cluster.0.to_be_bytes());
    body.extend_from_slice(&parties.from.0.to_be_bytes());
    body.extend_from_slice(&parties.to.0.to_be_bytes());
    write(stream, &body).await?;

    let body = read(stream, ANSWER_BYTES).await?;
    let verdict = Verdict::from_code(body[0]).ok_or_else(|| malformed("an answer of an unknown kind"))?;
    if verdict != Verdict::Open {
        let text = String::from_utf8_lossy(&body[ANSWER_BYTES..]).into_owned();
        return Err(io::Error::new(verdict.error_kind(), text));
    }
    let cluster = ClusterId(u128::from_be_bytes(number(&body, 1)));
    let from = NodeId(u64::from_be_bytes(number(&body, 17)));
    parties.check_answer(cluster, from).map_err(malformed)
}

/// Reads who calls.
pub(crate) async fn read_call(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Parties> {
    let body = read(stream, CALL_BYTES).await?;
    Ok(Parties {
        cluster: ClusterId(u128::from_be_bytes(number(&body, 0))),
        from: NodeId(u64::from_be_bytes(number(&body, 16))),
        to: NodeId(u64::from_be_bytes(number(&body, 24))),
    })
}

/// Answers a caller.
pub(crate) async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    (cluster, node): (ClusterId, NodeId),
    verdict: Verdict,
    text: &str,
) -> io::Result<()> {
    let mut body = Vec::with_capacity(ANSWER_BYTES + text.len());
    body.push(verdict as u8);
    body.extend_from_slice(&cluster.0.to_be_bytes());
    body.extend_from_slice(&node.0.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    body.truncate(BODY_BYTES_MAX);
    write(stream, &body).await
}

#[cfg(test)]
mod tests {
    use std::io;

    use shardforge_runtime::NodeId;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::{Verdict, answer, begins_tunnel, greet, read_call};
    use crate::handshake::Parties;
    use crate::identity::ClusterId;

    const PARTIES: Parties = Parties { cluster: ClusterId(42), from: NodeId(1), to: NodeId(2) };

    /// What the caller ends with when it is answered so.
    async fn answered(by: NodeId, verdict: Verdict, text: &str) -> io::Result<()> {
        let (mut caller, mut callee) = duplex(4096);
        let (greeted, ()) = tokio::join!(greet(&mut caller, PARTIES), async {
            assert_eq!(read_call(&mut callee).await.unwrap(), PARTIES);
            answer(&mut callee, (PARTIES.cluster, by), verdict, text).await.unwrap();
        });
        greeted
    }

    #[tokio::test]
    async fn the_two_ends_know_each_other() {
        answered(NodeId(2), Verdict::Open, "").await.unwrap();
        let error = answered(NodeId(3), Verdict::Open, "").await.unwrap_err();
        assert_eq!(error.to_string(), "n3 answers there");
        for (verdict, kind) in [
            (Verdict::Refused, io::ErrorKind::PermissionDenied),
            (Verdict::Busy, io::ErrorKind::ResourceBusy),
            (Verdict::Unserved, io::ErrorKind::ConnectionRefused),
        ] {
            let error = answered(NodeId(2), verdict, "because").await.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, "because"));
        }
        assert!(answered(NodeId(2), Verdict::Busy, &"x".repeat(5_000)).await.is_err(), "a long text is cut");
    }

    #[tokio::test]
    async fn what_is_no_introduction_is_refused() {
        assert!(begins_tunnel(b'S') && !begins_tunnel(b'P'));
        let cases: [(&[u8], &str); 4] = [
            (b"SFTUNNEX\x01\0\0\x20", "it does not begin as a tunnel does"),
            (b"SFTUNNEL\x02\0\0\x20", "it speaks version 2.0 of the protocol"),
            (b"SFTUNNEL\x01\0\0\x1f", "an introduction of 31 bytes"),
            (b"SFTUNNEL\x01\0\xff\xff", "an introduction of 65535 bytes"),
        ];
        for (bytes, expected) in cases {
            let (mut caller, mut callee) = duplex(4096);
            caller.write_all(bytes).await.unwrap();
            let error = read_call(&mut callee).await.unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
