//! Every bound of this crate, in one place.

use std::time::Duration;

/// Longest message a client may send, its length word included: PostgreSQL's 1 GB less one byte.
pub const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;

/// Longest message of a type that is short by nature (Sync, Execute, Close, ...).
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Longest startup packet.
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest message during authentication.
pub const AUTH_MESSAGE_BYTES_MAX: usize = 65_535;

/// SSLRequest and GSSENCRequest packets that are answered before the startup packet must come.
pub const NEGOTIATIONS_MAX: usize = 2;

/// What one read asks for at least; also the first size of the input buffer.
pub const READ_BYTES: usize = 16 * 1024;

/// The input buffer of a long message grows by what has arrived, at most by this at a time.
pub const READ_GROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The output buffer is written out when it holds this much.
pub const FLUSH_BYTES: usize = 64 * 1024;

/// A buffer that has grown past this is given back when it is empty.
pub const BUFFER_KEEP_BYTES: usize = 256 * 1024;

/// Longest message that is sent (one row): PostgreSQL's limit on a string.
pub const SEND_BYTES_MAX: usize = 0x3fff_ffff;

/// COPY data is handed on in pieces of about this size.
pub const COPY_CHUNK_BYTES: usize = 64 * 1024;

/// Default of `authentication_timeout`.
pub const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client that does not read may hold up the end of its connection.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client that is not served may take to say what it wants, before it is told why.
pub const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sockets beyond `max_connections` that are served at once, to be told that there is no room or to cancel
/// something. Further ones wait in the kernel's queue.
pub const CONNECTIONS_OVER_LIMIT_MAX: usize = 256;

/// Bytes of a cancel key in protocol 3.2 (the protocol allows up to 256).
pub const CANCEL_KEY_BYTES: usize = 32;

/// How long the two ends of a tunnel may take to agree on forwarding a connection.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A primary that could not be reached, or is none any more, is tried again after this time, unless another one becomes
/// known before.
pub const ROUTE_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What is read at once from one side of a forwarded connection, to be written to the other.
pub const FORWARD_BUFFER_BYTES: usize = 32 * 1024;

/// A connection that keeps its worker thread for this long without a break computes: the next time, the worker's other tasks are
/// handed to another thread first. Handing over costs some tens of microseconds.
pub const COMPUTES_FROM: Duration = Duration::from_millis(3);
