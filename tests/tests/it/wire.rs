//! A client that speaks the protocol byte by byte, so that it can say what no driver would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::{Server, session_options};

/// A connection, and what is to be sent over it next.
pub struct Wire {
    stream: TcpStream,
    out: Vec<u8>,
    /// The body of the last ErrorResponse.
    error: Vec<u8>,
}

/// A message of one type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A startup packet with parameters, which need not be text.
pub fn startup(parameters: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = (3u32 << 16).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name, &b"\0"[..], value, &b"\0"[..]].concat());
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

impl Wire {
    /// Opens a connection without saying anything.
    pub fn open(server: &Server) -> Wire {
        let stream = TcpStream::connect(server.address()).expect("the server accepts connections");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        Wire { stream, out: Vec::new(), error: Vec::new() }
    }

    /// Opens a session.
    pub fn connect(server: &Server) -> Wire {
        let mut wire = Wire::open(server);
        let options = session_options().unwrap_or_default();
        let parameters: [(&[u8], &[u8]); 3] =
            [(b"user", b"postgres"), (b"database", b"postgres"), (b"options", options.as_bytes())];
        let answers = wire.bytes(&startup(&parameters)).answers();
        assert_eq!(answers.last().map(String::as_str), Some("ready I"), "{answers:?}");
        wire
    }

    /// Anything.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Wire {
        self.out.extend(bytes);
        self
    }

    /// Query.
    pub fn query(&mut self, sql: impl AsRef<[u8]>) -> &mut Wire {
        self.bytes(&message(b'Q', &[sql.as_ref(), b"\0"].concat()))
    }

    /// Parse, with parameter types.
    pub fn parse(&mut self, name: impl AsRef<[u8]>, sql: impl AsRef<[u8]>, types: &[u32]) -> &mut Wire {
        let mut body = [name.as_ref(), b"\0", sql.as_ref(), b"\0"].concat();
        body.extend((types.len() as u16).to_be_bytes());
        types.iter().for_each(|ty| body.extend(ty.to_be_bytes()));
        self.bytes(&message(b'P', &body))
    }

    /// Bind: parameters with their formats, results as text.
    pub fn bind(
        &mut self,
        portal: impl AsRef<[u8]>,
        statement: impl AsRef<[u8]>,
        parameters: &[(u16, &[u8])],
    ) -> &mut Wire {
        let mut body = [portal.as_ref(), b"\0", statement.as_ref(), b"\0"].concat();
        let count = (parameters.len() as u16).to_be_bytes();
        body.extend(count);
        parameters.iter().for_each(|(format, _)| body.extend(format.to_be_bytes()));
        body.extend(count);
        for (_, value) in parameters {
            body.extend((value.len() as u32).to_be_bytes());
            body.extend(*value);
        }
        body.extend([0, 0]);
        self.bytes(&message(b'B', &body))
    }

    /// Describe of a portal.
    pub fn describe_portal(&mut self, name: impl AsRef<[u8]>) -> &mut Wire {
        self.bytes(&message(b'D', &[b"P", name.as_ref(), b"\0"].concat()))
    }

    /// Execute, with a row limit or 0.
    pub fn execute(&mut self, portal: impl AsRef<[u8]>, max_rows: u32) -> &mut Wire {
        self.bytes(&message(b'E', &[portal.as_ref(), b"\0", &max_rows.to_be_bytes()].concat()))
    }

    /// Sync.
    pub fn sync(&mut self) -> &mut Wire {
        self.bytes(&message(b'S', b""))
    }

    /// Sends what is to be sent and gives the answers up to the next ReadyForQuery (or CopyInResponse), one line
    /// each; the last is `closed` if the server ended the connection.
    pub fn answers(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // The server may have closed the connection already: what it said before can still be read.
        let _sent = self.stream.write_all(&self.out);
        self.out.clear();
        loop {
            let Some((kind, body)) = self.receive() else {
                lines.push("closed".to_owned());
                return lines;
            };
            lines.extend(show(kind, &body));
            if kind == b'E' {
                self.error.clone_from(&body);
            }
            if matches!(kind, b'Z' | b'G') {
                return lines;
            }
        }
    }

    /// Sends what is to be sent and reads nothing yet: the answer may be long in coming.
    pub fn send(&mut self) {
        let _sent = self.stream.write_all(&self.out);
        self.out.clear();
    }

    /// Waits for the next message that the server sends of itself.
    pub fn unasked(&mut self) -> String {
        loop {
            let Some((kind, body)) = self.receive() else { return "closed".to_owned() };
            if let Some(line) = show(kind, &body) {
                return line;
            }
        }
    }

    /// A field of the last error, by its letter in the protocol: D is DETAIL, H HINT, W CONTEXT, t the table.
    pub fn error_field(&self, code: u8) -> String {
        error_field(&self.error, code)
    }

    /// The bytes that are to be sent next.
    pub fn to_send(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what is to be sent, says nothing more, and gives all answers up to the end of the connection.
    pub fn last_answers(&mut self) -> Vec<String> {
        let _sent = self.stream.write_all(&self.out);
        self.out.clear();
        let _closed = self.stream.shutdown(std::net::Shutdown::Write);
        let mut lines = Vec::new();
        while let Some((kind, body)) = self.receive() {
            lines.extend(show(kind, &body));
        }
        lines.push("closed".to_owned());
        lines
    }

    /// The next message; `None` when the connection has ended.
    fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server hangs"),
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.checked_sub(4).expect("a length covers itself")];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

/// A message as a line; `None` for those of no interest here.
fn show(kind: u8, body: &[u8]) -> Option<String> {
    Some(match kind {
        b'E' | b'N' => {
            let field = |code| error_field(body, code);
            format!("{} {} {}", field(b'S'), field(b'C'), field(b'M'))
        }
        b'D' => row(body),
        b'C' => String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
        b'Z' => format!("ready {}", char::from(body[0])),
        b's' => "suspended".to_owned(),
        b'I' => "empty".to_owned(),
        b'n' => "no data".to_owned(),
        b'G' => "copy in".to_owned(),
        b'A' => notification(&body[4..]),
        _ => return None,
    })
}

/// Channel and payload; who notified is not the same in every run.
fn notification(body: &[u8]) -> String {
    let mut texts = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut next = || texts.next().unwrap_or_default().into_owned();
    format!("notified {} {}", next(), next())
}

fn error_field(body: &[u8], code: u8) -> String {
    let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&code));
    found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
}

fn row(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let (value, tail) = tail.split_at(usize::try_from(length).unwrap_or(0));
        values.push(if length < 0 { "-".to_owned() } else { String::from_utf8_lossy(value).into_owned() });
        rest = tail;
    }
    format!("row {}", values.join("|"))
}
