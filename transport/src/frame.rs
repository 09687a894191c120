//! What goes over a stream: batches of frames, each a request, an answer or a note about one.
//!
//! ```text
//!   gRPC message = frame*          frame = tag (1 byte) id (8) length (4) payload (length)
//! ```
//!
//! Numbers are little-endian. A frame whose tag is not known is passed over: a newer minor version may send some.

use std::io;

use bytes::{Buf, BufMut, Bytes};

const HEADER_BYTES: usize = 13;

/// One frame. `id` is the sender's number of the request that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    Request {
        id: u64,
        payload: Bytes,
    },
    Answer {
        id: u64,
        payload: Bytes,
    },
    Failure {
        id: u64,
        kind: io::ErrorKind,
        message: String,
    },
    /// Nobody waits for the answer any more.
    Cancel {
        id: u64,
    },
    Ping {
        id: u64,
    },
    Pong {
        id: u64,
    },
}

/// The bytes are not frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message ends in the middle of a frame")]
pub(crate) struct Malformed;

mod tag {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const ANSWER: u8 = 2;
    pub(super) const FAILURE: u8 = 3;
    pub(super) const CANCEL: u8 = 4;
    pub(super) const PING: u8 = 5;
    pub(super) const PONG: u8 = 6;
}

impl Frame {
    /// Its size on the wire.
    pub(crate) fn size(&self) -> usize {
        HEADER_BYTES
            + match self {
                Self::Request { payload, .. } | Self::Answer { payload, .. } => payload.len(),
                Self::Failure { message, .. } => 1 + message.len(),
                Self::Cancel { .. } | Self::Ping { .. } | Self::Pong { .. } => 0,
            }
    }

    fn encode(&self, out: &mut impl BufMut) {
        let length =
            u32::try_from(self.size() - HEADER_BYTES).expect("payloads have a limit far below 4 GiB");
        let mut header = |tag: u8, id: u64| {
            out.put_u8(tag);
            out.put_u64_le(id);
            out.put_u32_le(length);
        };
        match self {
            Self::Request { id, payload } => {
                header(tag::REQUEST, *id);
                out.put_slice(payload);
            }
            Self::Answer { id, payload } => {
                header(tag::ANSWER, *id);
                out.put_slice(payload);
            }
            Self::Failure { id, kind, message } => {
                header(tag::FAILURE, *id);
                out.put_u8(kind_to_byte(*kind));
                out.put_slice(message.as_bytes());
            }
            Self::Cancel { id } => header(tag::CANCEL, *id),
            Self::Ping { id } => header(tag::PING, *id),
            Self::Pong { id } => header(tag::PONG, *id),
        }
    }
}

/// The frames that go into one message.
#[derive(Default, Debug)]
pub(crate) struct Batch {
    pub frames: Vec<Frame>,
    pub size: usize,
}

impl Batch {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.size += frame.size();
        self.frames.push(frame);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.size >= crate::limits::BATCH_SIZE_BYTES
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        for frame in &self.frames {
            frame.encode(out);
        }
    }
}

/// The frames of a message, which shares its payloads with them.
pub(crate) struct Frames(pub Bytes);

impl Iterator for Frames {
    type Item = Result<Frame, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            match self.take() {
                Ok(None) => {}
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(malformed) => {
                    self.0.clear();
                    return Some(Err(malformed));
                }
            }
        }
    }
}

impl Frames {
    /// The next frame, or `None` in place of one of an unknown kind.
    fn take(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.0.len() < HEADER_BYTES {
            return Err(Malformed);
        }
        let (tag, id, length) = (self.0.get_u8(), self.0.get_u64_le(), self.0.get_u32_le());
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        if self.0.len() < length {
            return Err(Malformed);
        }
        let mut payload = self.0.split_to(length);
        Ok(match tag {
            tag::REQUEST => Some(Frame::Request { id, payload }),
            tag::ANSWER => Some(Frame::Answer { id, payload }),
            tag::FAILURE => {
                let kind = payload.try_get_u8().map_err(|_| Malformed)?;
                let message = String::from_utf8_lossy(&payload).into_owned();
                Some(Frame::Failure { id, kind: kind_from_byte(kind), message })
            }
            tag::CANCEL => Some(Frame::Cancel { id }),
            tag::PING => Some(Frame::Ping { id }),
            tag::PONG => Some(Frame::Pong { id }),
            _ => None,
        })
    }
}

/// The kinds of errors that have a number of their own; the others arrive as `Other`.
const KINDS: [(u8, io::ErrorKind); 14] = [
    (1, io::ErrorKind::NotFound),
    (2, io::ErrorKind::PermissionDenied),
    (3, io::ErrorKind::ConnectionRefused),
    (4, io::ErrorKind::ConnectionReset),
    (5, io::ErrorKind::ConnectionAborted),
    (6, io::ErrorKind::NotConnected),
    (7, io::ErrorKind::InvalidInput),
    (8, io::ErrorKind::InvalidData),
    (9, io::ErrorKind::TimedOut),
    (10, io::ErrorKind::StorageFull),
    (11, io::ErrorKind::ResourceBusy),
    (12, io::ErrorKind::Interrupted),
    (13, io::ErrorKind::Unsupported),
    (14, io::ErrorKind::HostUnreachable),
];

fn kind_to_byte(kind: io::ErrorKind) -> u8 {
    KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(byte, _)| *byte)
}

fn kind_from_byte(byte: u8) -> io::ErrorKind {
    KINDS.iter().find(|(known, _)| *known == byte).map_or(io::ErrorKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::{BufMut, Bytes, BytesMut};

    use super::{Batch, Frame, Frames, HEADER_BYTES, Malformed};

    fn encoded(frames: Vec<Frame>) -> Bytes {
        let mut batch = Batch::default();
        frames.into_iter().for_each(|frame| batch.push(frame));
        let mut bytes = BytesMut::new();
        batch.encode(&mut bytes);
        assert_eq!(bytes.len(), batch.size);
        bytes.freeze()
    }

    fn all() -> Vec<Frame> {
        vec![
            Frame::Request { id: 1, payload: Bytes::from_static(b"question") },
            Frame::Answer { id: u64::MAX, payload: Bytes::new() },
            Frame::Failure { id: 3, kind: io::ErrorKind::ResourceBusy, message: "über".to_owned() },
            Frame::Cancel { id: 4 },
            Frame::Ping { id: 5 },
            Frame::Pong { id: 6 },
        ]
    }

    #[test]
    fn frames_come_back_as_they_went() {
        let back: Result<Vec<_>, _> = Frames(encoded(all())).collect();
        assert_eq!(back.unwrap(), all());
    }

    #[test]
    fn what_is_cut_off_is_noticed_and_nothing_panics() {
        let whole = encoded(all());
        for length in 0..whole.len() {
            let frames: Vec<_> = Frames(whole.slice(..length)).collect();
            let good = frames.iter().filter(|frame| frame.is_ok()).count();
            assert_eq!(
                good,
                all().iter().zip(&frames).filter(|(sent, got)| got.as_ref() == Ok(sent)).count()
            );
            let sizes: usize = all().iter().take(good).map(Frame::size).sum();
            assert_eq!(frames.len() > good, sizes < length, "at {length}");
        }
        let mut failure = BytesMut::new();
        failure.put_u8(3);
        failure.put_bytes(0, HEADER_BYTES - 1);
        assert_eq!(Frames(failure.freeze()).next(), Some(Err(Malformed)), "a failure without a kind");
    }

    #[test]
    fn frames_of_a_newer_version_are_passed_over() {
        let mut bytes = BytesMut::new();
        bytes.put_u8(200);
        bytes.put_u64_le(9);
        bytes.put_u32_le(3);
        bytes.put_slice(b"new");
        bytes.put_slice(&encoded(vec![Frame::Ping { id: 7 }]));
        let back: Result<Vec<_>, _> = Frames(bytes.freeze()).collect();
        assert_eq!(back.unwrap(), [Frame::Ping { id: 7 }]);
    }

    #[test]
    fn kinds_of_errors_survive() {
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::HostUnreachable, io::ErrorKind::TimedOut] {
            let sent = Frame::Failure { id: 1, kind, message: String::new() };
            assert_eq!(Frames(encoded(vec![sent.clone()])).next(), Some(Ok(sent)));
        }
        let sent = Frame::Failure { id: 1, kind: io::ErrorKind::BrokenPipe, message: String::new() };
        let Some(Ok(Frame::Failure { kind, .. })) = Frames(encoded(vec![sent])).next() else { panic!() };
        assert_eq!(kind, io::ErrorKind::Other);
    }
}
