//! Golden scripts: conversations as text.
//!
//! A script is a list of blocks. Each has commands, a line `---`, and what the server has said when it has
//! nothing more to say; a blank line ends the block. Lines that begin with `#` are comments. Run the tests
//! with `UPDATE_SCRIPTS=1` to record the answers anew, and read the diff.
//!
//! ```text
//!   a start [3.2] user=alice database=db ...    the startup packet (3.0 unless said otherwise)
//!   a query "rows 2"                            a parse NAME "SQL"
//!   a bind PORTAL STATEMENT [t:text | b:text | null]... [-> 0 1]
//!   a describe S NAME    a execute PORTAL MAX   a close P NAME    a sync    a flush    a terminate
//!   a copydata "text"    a copydone             a copyfail "why"
//!   a hex 51 00 00 ...   raw bytes, strings in quotes
//!   a ssl, a gss         a cancel b             a cancel-wrongly b
//!   a eof                closes the client's side
//!   sleep 500            lets milliseconds pass
//!   kill b               pg_terminate_backend
//!   shutdown             of the server, with a grace period of 2 s
//! ```
//!
//! The first word names a connection, which is opened when it is first used; the name "" is written `.`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::backend::ToyBackend;
use super::wire;
use crate::{Frontend, FrontendOptions};

/// A server with its clients.
pub(super) struct Conversation {
    frontend: Frontend<ToyBackend>,
    clients: BTreeMap<String, Client>,
}

struct Client {
    pipe: DuplexStream,
    received: Vec<u8>,
    open: bool,
    /// From BackendKeyData.
    process_id: i32,
    key: Vec<u8>,
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        let options = FrontendOptions {
            max_connections: 4,
            superuser_reserved_connections: 1,
            authentication_timeout: Duration::from_secs(1),
        };
        let frontend = Frontend::new(Arc::new(ToyBackend), options);
        Conversation { frontend, clients: BTreeMap::new() }
    }

    /// Runs a script and returns it with the answers of this run.
    pub(super) async fn run(&mut self, script: &str) -> String {
        let mut result = String::new();
        let mut answers = false;
        for line in script.lines().chain([""]) {
            if line.trim().is_empty() {
                if answers {
                    result.push('\n');
                }
                answers = false;
            } else if line == "---" {
                answers = true;
                result.push_str("---\n");
                self.listen(&mut result).await;
            } else if !answers {
                writeln!(result, "{line}").expect("a string takes everything");
                if !line.starts_with('#') {
                    self.command(line).await;
                }
            }
        }
        result
    }

    async fn command(&mut self, line: &str) {
        let words = words(line);
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        match word(0) {
            "sleep" => {
                let milliseconds = word(1).parse().expect("sleep takes milliseconds");
                sleep(Duration::from_millis(milliseconds)).await;
            }
            "kill" => {
                let process_id = self.clients[word(1)].process_id;
                assert!(self.frontend.registry().terminate(process_id));
            }
            "shutdown" => {
                let frontend = self.frontend.clone();
                tokio::spawn(async move { frontend.shutdown(Duration::from_secs(2)).await });
            }
            name => {
                let other = self.clients.get(word(2)).map(|other| (other.process_id, other.key.clone()));
                let bytes = encode(&words[1..], other);
                let client = self.client(name);
                // Fails if the server has hung up, which its answers show.
                let _ = match bytes {
                    Some(bytes) => client.pipe.write_all(&bytes).await,
                    None => client.pipe.shutdown().await,
                };
            }
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let frontend = self.frontend.clone();
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            let (pipe, server) = duplex(1 << 22);
            let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
            tokio::spawn(async move { frontend.serve_stream(server, peer).await });
            Client { pipe, received: vec![], open: true, process_id: 0, key: vec![] }
        })
    }

    /// Appends what has come on every connection, when the server has nothing more to say.
    async fn listen(&mut self, result: &mut String) {
        settle().await;
        for (name, client) in &mut self.clients {
            let mut buffer = vec![0; 1 << 16];
            while client.open {
                match client.pipe.read(&mut buffer).now_or_never() {
                    Some(Ok(0)) => {
                        client.open = false;
                        client.show(name, result);
                        writeln!(result, "{name} closed").expect("a string takes everything");
                    }
                    Some(Ok(count)) => client.received.extend_from_slice(&buffer[..count]),
                    Some(Err(error)) => panic!("{name}: {error}"),
                    None => break,
                }
            }
            client.show(name, result);
        }
    }
}

/// Lets every other task run until none has work left. All of them share this thread and talk through pipes, so
/// a task that can go on is in the queue, and each turn runs the whole queue once.
async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// More turns than any script has messages in one block.
const TURNS: usize = 500;

impl Client {
    fn show(&mut self, name: &str, result: &mut String) {
        while let Some((kind, body)) = wire::split(&mut self.received) {
            if kind == b'K' {
                self.process_id = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                self.key = body[4..].to_vec();
            }
            writeln!(result, "{name} {}", wire::show(kind, &body)).expect("a string takes everything");
        }
        assert!(self.received.is_empty(), "{name}: half a message: {:?}", self.received);
    }
}

/// The bytes of a command; `None` closes the client's side.
fn encode(words: &[String], other: Option<(i32, Vec<u8>)>) -> Option<Vec<u8>> {
    let word = |index: usize| match words.get(index).map(String::as_str) {
        None | Some(".") => "",
        Some(word) => word,
    };
    Some(match word(0) {
        "eof" => return None,
        "start" => {
            let (version, parameters) = match word(1).split_once('.') {
                Some((major, minor)) if !word(1).contains('=') => {
                    let (major, minor) = (major.parse::<u32>(), minor.parse::<u32>());
                    (major.expect("a version") << 16 | minor.expect("a version"), &words[2..])
                }
                _ => (3 << 16, &words[1..]),
            };
            let parameters: Vec<(&str, &str)> =
                parameters.iter().map(|word| word.split_once('=').expect("name=value")).collect();
            wire::startup(version, &parameters)
        }
        "ssl" => wire::packet(&80_877_103u32.to_be_bytes()),
        "gss" => wire::packet(&80_877_104u32.to_be_bytes()),
        "cancel" | "cancel-wrongly" => {
            let (process_id, mut key) = other.expect("a connection to cancel");
            key[0] ^= u8::from(word(0) == "cancel-wrongly");
            let code = 80_877_102u32.to_be_bytes().to_vec();
            wire::packet(&[code, process_id.to_be_bytes().to_vec(), key].concat())
        }
        "query" => wire::query(word(1)),
        "parse" => wire::parse(word(1), word(2)),
        "bind" => {
            let mut sections = words[3.min(words.len())..].split(|word| word == "->");
            let params: Vec<wire::Parameter<'_>> = sections
                .next()
                .unwrap_or_default()
                .iter()
                .map(|word| match word.split_once(':') {
                    Some((format, value)) => (i16::from(format == "b"), Some(value.as_bytes())),
                    None => (0, None),
                })
                .collect();
            let formats: Vec<i16> = sections
                .next()
                .unwrap_or_default()
                .iter()
                .map(|word| word.parse().expect("a format code"))
                .collect();
            wire::bind(word(1), word(2), &params, &formats)
        }
        "describe" => wire::about(b'D', word(1).as_bytes()[0], word(2)),
        "close" => wire::about(b'C', word(1).as_bytes()[0], word(2)),
        "execute" => wire::execute(word(1), word(2).parse().unwrap_or(0)),
        "sync" => wire::message(b'S', b""),
        "flush" => wire::message(b'H', b""),
        "terminate" => wire::message(b'X', b""),
        "copydata" => wire::message(b'd', word(1).as_bytes()),
        "copydone" => wire::message(b'c', b""),
        "copyfail" => wire::message(b'f', &wire::cstr(word(1))),
        "hex" => words[1..].iter().flat_map(|word| hex_or_text(word)).collect(),
        other => panic!("unknown command {other:?}"),
    })
}

fn hex_or_text(word: &str) -> Vec<u8> {
    match (word.len(), u8::from_str_radix(word, 16)) {
        (2, Ok(byte)) => vec![byte],
        _ => word.as_bytes().to_vec(),
    }
}

/// Splits a line at spaces; what is in double quotes stays together (`\n` in it is a line end).
fn words(line: &str) -> Vec<String> {
    let mut words = vec![];
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.replace("\\n", "\n"));
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
