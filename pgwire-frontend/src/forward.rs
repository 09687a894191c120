//! Forwarding a client's connection to another node: what the two nodes tell each other first, and the copying.
//!
//! ```text
//!   gateway   "SFGW" | version u8 | size u8 | port u16 | family u8, 4 or 6 | address, 4 or 16 bytes
//!   primary   verdict u8
//!   then, both ways, what client and primary say to each other
//! ```
//!
//! Numbers are big-endian. `size` counts what comes after it, so that more may be appended: what is not known is passed
//! over. The gateway reads nothing from the client before it has the verdict, and may turn to another node instead.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::doors::{Doors, Phase};
use crate::limits::FORWARD_BUFFER_BYTES;
use crate::transport::Stream;

const MAGIC: &[u8; 4] = b"SFGW";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;

/// What the node at the other end of a tunnel says to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It serves it.
    Served = 0,
    /// It is not the primary, or not any more.
    NotPrimary = 1,
    /// It serves as many as it can.
    Busy = 2,
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Asks the other end of a tunnel to serve a client that is at `peer`.
pub(crate) async fn ask(
    tunnel: &mut (impl AsyncRead + AsyncWrite + Unpin),
    peer: SocketAddr,
) -> io::Result<Verdict> {
    let mut body = peer.port().to_be_bytes().to_vec();
    match peer.ip() {
        IpAddr::V4(ip) => {
            body.push(4);
            body.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            body.push(6);
            body.extend_from_slice(&ip.octets());
        }
    }
    let mut message = MAGIC.to_vec();
    message.extend_from_slice(&[VERSION, body.len() as u8]);
    message.extend_from_slice(&body);
    tunnel.write_all(&message).await?;
    tunnel.flush().await?;
    let verdict = tunnel.read_u8().await?;
    [Verdict::Served, Verdict::NotPrimary, Verdict::Busy]
        .into_iter()
        .find(|known| *known as u8 == verdict)
        .ok_or_else(|| malformed("a verdict of an unknown kind"))
}

/// Reads where the client is.
pub(crate) async fn read_peer(tunnel: &mut (impl AsyncRead + Unpin)) -> io::Result<SocketAddr> {
    let mut head = [0; HEAD_BYTES];
    tunnel.read_exact(&mut head).await?;
    let [magic @ .., version, size] = head;
    if magic != *MAGIC {
        return Err(malformed("it does not begin as a forwarded connection does"));
    }
    if version != VERSION {
        return Err(malformed("it is forwarded in another version"));
    }
    let mut body = vec![0; usize::from(size)];
    tunnel.read_exact(&mut body).await?;
    let (port, rest) = body.split_first_chunk().ok_or_else(|| malformed("it lacks the client's port"))?;
    let ip: Option<IpAddr> = match rest.split_first() {
        Some((4, ip)) => ip.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
        Some((6, ip)) => ip.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
        _ => None,
    };
    let ip = ip.ok_or_else(|| malformed("it lacks the client's address"))?;
    Ok(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Answers [`ask`].
pub(crate) async fn answer(tunnel: &mut (impl AsyncWrite + Unpin), verdict: Verdict) -> io::Result<()> {
    tunnel.write_all(&[verdict as u8]).await?;
    tunnel.flush().await
}

/// Copies both ways until the primary has said all, or either side breaks. A client that ends its half still gets what is
/// on its way. When the doors close the primary is told that the client has ended: so it goes on with what it
/// does, and then says goodbye.
///
/// Returns what is left of the client's connection when the primary has ended it in order, or why it broke.
pub(crate) async fn copy(
    client: Box<dyn Stream>,
    tunnel: Box<dyn Stream>,
    doors: &Doors,
) -> io::Result<Box<dyn Stream>> {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_primary, mut to_primary) = split(tunnel);
    {
        let up = async {
            tokio::select! {
                biased;
                copied = pump(&mut from_client, &mut to_primary) => copied?,
                () = doors.reached(Phase::Closing) => {}
            }
            to_primary.shutdown().await
        };
        let down = pump(&mut from_primary, &mut to_client);
        tokio::pin!(up, down);
        tokio::select! {
            biased;
            ended = &mut down => ended?,
            ended = &mut up => {
                ended?;
                down.await?;
            }
        }
    }
    Ok(from_client.unsplit(to_client))
}

/// Copies one way, to the end of what is read.
async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; FORWARD_BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        // It may hold something back, and the other side may say nothing until it has it.
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn a_clients_address_arrives() {
        for peer in ["192.0.2.7:40000", "[2001:db8::7]:5"] {
            let peer: SocketAddr = peer.parse().expect("an address");
            for verdict in [Verdict::Served, Verdict::NotPrimary, Verdict::Busy] {
                let (mut gateway, mut primary) = duplex(1024);
                let (asked, ()) = tokio::join!(ask(&mut gateway, peer), async {
                    assert_eq!(read_peer(&mut primary).await.expect("an address"), peer);
                    answer(&mut primary, verdict).await.expect("a pipe");
                });
                assert_eq!(asked.expect("a verdict"), verdict);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_understood_is_an_error() {
        let cases: [(&[u8], &str); 6] = [
            (b"SFGX\x01\x07", "it does not begin as a forwarded connection does"),
            (b"SFGW\x02\x07", "it is forwarded in another version"),
            (b"SFGW\x01\x01\0", "it lacks the client's port"),
            (b"SFGW\x01\x02\0\0", "it lacks the client's address"),
            (b"SFGW\x01\x06\0\0\x04\x7f\0\0", "it lacks the client's address"),
            (b"SFGW\x01\x07\0\0\x05\x7f\0\0\x01", "it lacks the client's address"),
        ];
        for (bytes, expected) in cases {
            let error = read_peer(&mut &*bytes).await.expect_err("a bad header");
            assert_eq!(error.to_string(), expected);
        }
        assert!(read_peer(&mut &b"SFGW\x01\x07\0"[..]).await.is_err());
        let mut longer: &[u8] = b"SFGW\x01\x09\0\x50\x04\x7f\0\0\x01NEWrest";
        let peer = read_peer(&mut longer).await.expect("an address");
        assert_eq!((peer.to_string().as_str(), longer), ("127.0.0.1:80", &b"Wrest"[..]));
    }
}
