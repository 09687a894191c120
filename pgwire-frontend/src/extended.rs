//! The messages of the extended protocol: Parse, Bind, Describe, Execute, Close and Flush.
//!
//! Parse, Bind and Close read their fields in place, from the input buffer, and free it afterwards. Execute
//! and Describe hand the [`Responder`] to the session, which may read more input (COPY), so they keep the
//! one name that they need in a buffer of the connection. Nothing here allocates for a prepared statement.

use shardforge_types::{Oid, PgResult};

use crate::backend::{Format, Session};
use crate::encode;
use crate::message::{Cursor, Frame, fatal_violation, protocol_violation};
use crate::params::{RawParams, format_of_code};
use crate::responder::Responder;

/// Buffers that are used again by each message.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    name: String,
    formats: Vec<Format>,
}

/// Handles one message, the first in the input, and consumes it.
pub(crate) async fn answer<S: Session>(
    session: &mut S,
    out: &mut Responder,
    scratch: &mut Scratch,
    frame: Frame,
) -> PgResult<()> {
    let body = out.transport.body(frame);
    let outcome = match frame.kind {
        b'P' => parse(session, body).await.map(|()| Some(b'1')),
        b'B' => bind(session, scratch, body).await.map(|()| Some(b'2')),
        b'C' => close(session, body).await.map(|()| Some(b'3')),
        b'E' => {
            let read = read_execute(scratch, body);
            out.transport.consume(frame.bytes);
            return session.execute(&scratch.name, read?, out).await;
        }
        b'D' => {
            let read = read_describe(scratch, body);
            out.transport.consume(frame.bytes);
            return describe(session, out, read?, &scratch.name).await;
        }
        b'H' => Ok(None),
        other => Err(fatal_violation(format!("invalid frontend message type {other}"))),
    };
    out.transport.consume(frame.bytes);
    match outcome? {
        Some(complete) => encode::empty(out.output(), complete),
        None => out.flush().await?,
    }
    Ok(())
}

async fn parse<S: Session>(session: &mut S, body: &[u8]) -> PgResult<()> {
    let mut cursor = Cursor::new(body);
    let name = cursor.string()?;
    let sql = cursor.string()?;
    let count = cursor.u16()?;
    let types = cursor.take(usize::from(count) * 4)?;
    cursor.end()?;
    let types: Vec<Oid> =
        types.chunks_exact(4).map(|oid| Oid(u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))).collect();
    session.parse(name, sql, &types).await
}

async fn bind<S: Session>(session: &mut S, scratch: &mut Scratch, body: &[u8]) -> PgResult<()> {
    let mut cursor = Cursor::new(body);
    let portal = cursor.string()?;
    let statement = cursor.string()?;
    let params = RawParams::decode(&mut cursor)?;
    let count = cursor.u16()?;
    scratch.formats.clear();
    for _ in 0..count {
        scratch.formats.push(format_of_code(cursor.i16()?)?);
    }
    cursor.end()?;
    session.bind(portal, statement, params, &scratch.formats).await
}

async fn close<S: Session>(session: &mut S, body: &[u8]) -> PgResult<()> {
    let mut cursor = Cursor::new(body);
    let what = Target::read(&mut cursor, "CLOSE")?;
    let name = cursor.string()?;
    cursor.end()?;
    match what {
        Target::Statement => session.close_statement(name).await,
        Target::Portal => session.close_portal(name).await,
    }
}

/// The portal's name goes to the scratch, the row limit is returned.
fn read_execute(scratch: &mut Scratch, body: &[u8]) -> PgResult<i32> {
    let mut cursor = Cursor::new(body);
    scratch.name.clear();
    scratch.name.push_str(cursor.string()?);
    let max_rows = cursor.i32()?;
    cursor.end()?;
    Ok(max_rows.max(0))
}

fn read_describe(scratch: &mut Scratch, body: &[u8]) -> PgResult<Target> {
    let mut cursor = Cursor::new(body);
    let what = Target::read(&mut cursor, "DESCRIBE")?;
    scratch.name.clear();
    scratch.name.push_str(cursor.string()?);
    cursor.end()?;
    Ok(what)
}

async fn describe<S: Session>(
    session: &mut S,
    out: &mut Responder,
    what: Target,
    name: &str,
) -> PgResult<()> {
    match what {
        Target::Portal => session.describe_portal(name, out).await,
        Target::Statement => {
            let description = session.describe_statement(name).await?;
            encode::parameter_description(out.output(), &description.parameters);
            match description.fields {
                Some(fields) => out.row_description(&fields, &[]),
                None => {
                    out.no_data();
                    Ok(())
                }
            }
        }
    }
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Statement,
    Portal,
}

impl Target {
    fn read(cursor: &mut Cursor<'_>, message: &str) -> PgResult<Target> {
        match cursor.u8()? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(protocol_violation(format!("invalid {message} message subtype {other}"))),
        }
    }
}
