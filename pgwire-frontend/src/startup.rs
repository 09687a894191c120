//! The beginning of a connection, before there is a session.
//!
//! ```text
//!   SSLRequest | GSSENCRequest   answered 'N', at most once each
//!   CancelRequest                acts, answers nothing, and ends
//!   StartupMessage 3.0 .. 3.2    a newer minor version or unknown options: NegotiateProtocolVersion
//!   authentication               see `auth`
//! ```
//!
//! These packets have no type byte: an int32 length, an int32 code, a body.

use std::net::SocketAddr;

use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey, Startup as WireStartup,
};
use shardforge_types::{PgError, PgResult, SqlState};

use crate::auth::{AuthMethod, ScramExchange, ScramVerifier};
use crate::encode::{self, fatal};
use crate::limits::{AUTH_MESSAGE_BYTES_MAX, NEGOTIATIONS_MAX, STARTUP_BYTES_MAX};
use crate::message::{Cursor, HEADER_BYTES, fatal_violation};
use crate::responder::{Responder, connection_lost};

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const MINOR_MAX: u32 = 2;
/// Names are cut to this, as in the catalogs.
const NAME_BYTES_MAX: usize = 63;

/// What the first packets amount to.
pub(crate) enum Opening {
    Start(StartupPacket),
    Cancel {
        process_id: i32,
        key: Vec<u8>,
    },
    /// The client went away without a word, as port checks do.
    Gone,
}

/// A StartupMessage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StartupPacket {
    pub(crate) minor: u32,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) parameters: Vec<(String, String)>,
    unknown_options: Vec<String>,
}

/// Reads up to the startup packet and answers what comes before it.
pub(crate) async fn open(out: &mut Responder) -> PgResult<Opening> {
    for _ in 0..=NEGOTIATIONS_MAX {
        let Some(packet) = read_packet(out).await? else { return Ok(Opening::Gone) };
        let mut cursor = Cursor::new(&packet);
        match cursor.u32()? {
            SSL_REQUEST | GSSENC_REQUEST => {
                out.output().push(b'N');
                out.flush().await?;
            }
            CANCEL_REQUEST => {
                let process_id = cursor.i32()?;
                return Ok(Opening::Cancel { process_id, key: cursor.rest().to_vec() });
            }
            version => {
                let packet = StartupPacket::decode(version, &mut cursor)?;
                if version & 0xffff > MINOR_MAX || !packet.unknown_options.is_empty() {
                    let mut answer = NegotiateProtocolVersion::new(
                        WireStartup::PROTOCOL_VERSION_3_2,
                        packet.unknown_options.clone(),
                    );
                    answer.newest_minor_protocol =
                        (3 << 16) | i32::try_from(packet.minor).unwrap_or(MINOR_MAX as i32);
                    encode::message(out.output(), &answer);
                }
                return Ok(Opening::Start(packet));
            }
        }
    }
    Err(fatal_violation("expected a startup packet"))
}

/// One packet without its length word; `None` if the stream ends before it begins.
async fn read_packet(out: &mut Responder) -> PgResult<Option<Vec<u8>>> {
    loop {
        let input = out.transport.input();
        if let Some(head) = input.first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if !(8..=STARTUP_BYTES_MAX).contains(&length) {
                return Err(fatal_violation("invalid length of startup packet"));
            }
            if let Some(packet) = input.get(4..length) {
                let packet = packet.to_vec();
                out.transport.consume(length);
                return Ok(Some(packet));
            }
        }
        if !out.fill().await? {
            let nothing_came = out.transport.input().is_empty();
            return if nothing_came { Ok(None) } else { Err(connection_lost("incomplete startup packet")) };
        }
    }
}

impl StartupPacket {
    fn decode(version: u32, cursor: &mut Cursor<'_>) -> PgResult<StartupPacket> {
        let (major, minor) = (version >> 16, version & 0xffff);
        if major != 3 {
            return Err(fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!(
                    "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}"
                ),
            ));
        }
        let mut packet = StartupPacket { minor: minor.min(MINOR_MAX), ..StartupPacket::default() };
        let mut settings = Vec::new();
        loop {
            let layout =
                |_| fatal_violation("invalid startup packet layout: expected terminator as last byte");
            if cursor.rest().is_empty() {
                return Err(layout(()));
            }
            let name = cursor.string().map_err(ends_connection)?;
            if name.is_empty() {
                cursor.end().map_err(|_| layout(()))?;
                break;
            }
            let value = cursor.string().map_err(ends_connection)?;
            match name {
                "user" => packet.user = cut(value).to_owned(),
                "database" => packet.database = cut(value).to_owned(),
                "options" => packet.parameters.extend(command_line_settings(value)?),
                "replication" => reject_replication(value)?,
                _ if name.starts_with("_pq_.") => packet.unknown_options.push(name.to_owned()),
                _ => settings.push((name.to_owned(), value.to_owned())),
            }
        }
        packet.parameters.extend(settings);
        if packet.user.is_empty() {
            return Err(fatal(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        if packet.database.is_empty() {
            packet.database.clone_from(&packet.user);
        }
        Ok(packet)
    }

    /// Whether the connection speaks 3.2, whose cancel keys are long.
    pub(crate) fn long_cancel_key(&self) -> bool {
        self.minor >= 2
    }
}

/// Cut to the length of a name, at the border of a character.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

fn ends_connection(error: PgError) -> PgError {
    error.severity(shardforge_types::Severity::Fatal)
}

fn reject_replication(value: &str) -> PgResult<()> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        _ => Err(fatal(SqlState::FEATURE_NOT_SUPPORTED, "replication connections are not supported")
            .hint("Connect without the \"replication\" parameter.")),
    }
}

/// The settings in a command line as libpq's `options` carries it: `-c name=value` and `--name=value`,
/// parted by spaces; a backslash takes the next character as it is.
fn command_line_settings(line: &str) -> PgResult<Vec<(String, String)>> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);

    let mut settings = vec![];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(fatal(
                SqlState::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            )
            .hint("Settings are given as \"-c name=value\" or \"--name=value\"."));
        };
        match setting.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()));
            }
            _ => return Err(fatal(SqlState::SYNTAX_ERROR, format!("-c {setting} requires a value"))),
        }
    }
    Ok(settings)
}

/// Lets the client prove who it is; ends with AuthenticationOk in the buffer.
pub(crate) async fn authenticate(
    out: &mut Responder,
    user: &str,
    peer: SocketAddr,
    method: AuthMethod,
) -> PgResult<()> {
    let verifier = match method {
        AuthMethod::Trust => {
            encode::message(out.output(), &Authentication::Ok);
            return Ok(());
        }
        AuthMethod::Reject(error) => return Err(ends_connection(error)),
        AuthMethod::Scram(verifier) => Some(verifier),
        AuthMethod::ScramUnknown => {
            tracing::info!(user, %peer, "password asked of a role that is unknown or has none");
            None
        }
    };
    let known = verifier.is_some();
    let mut exchange = ScramExchange::new(user, verifier);
    encode::message(out.output(), &Authentication::SASL(vec![ScramVerifier::MECHANISM.to_owned()]));
    let answer = exchange.first(&read_sasl(out).await?)?;
    encode::message(out.output(), &Authentication::SASLContinue(answer.into()));
    let answer = exchange.last(&read_sasl(out).await?)?;
    assert!(known, "nobody's password was accepted");
    encode::message(out.output(), &Authentication::SASLFinal(answer.into()));
    encode::message(out.output(), &Authentication::Ok);
    Ok(())
}

/// Sends what is pending and reads the client's next message, which must be of the password family.
async fn read_sasl(out: &mut Responder) -> PgResult<Vec<u8>> {
    out.flush().await?;
    loop {
        let input = out.transport.input();
        if let Some(kind) = input.first().filter(|kind| **kind != b'p') {
            return Err(fatal_violation(format!("expected SASL response, got message type {kind}")));
        }
        if let Some(header) = input.first_chunk::<HEADER_BYTES>() {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            if !(4..=AUTH_MESSAGE_BYTES_MAX).contains(&length) {
                return Err(fatal_violation("invalid message length"));
            }
            if let Some(body) = input.get(HEADER_BYTES..=length) {
                let body = body.to_vec();
                out.transport.consume(length + 1);
                return Ok(body);
            }
        }
        if !out.fill().await? {
            return Err(connection_lost("unexpected EOF within message length word"));
        }
    }
}

/// BackendKeyData.
pub(crate) fn backend_key_data(out: &mut Responder, process_id: i32, key: &[u8]) {
    let key = SecretKey::Bytes(bytes::Bytes::copy_from_slice(key));
    encode::message(out.output(), &BackendKeyData::new(process_id, key));
}
