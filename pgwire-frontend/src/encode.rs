//! Writing the server's messages into the output buffer.
//!
//! What is sent for every row or statement is written by hand, straight into the buffer, with the length
//! patched in at the end. What is sent once a connection goes through pgwire's message types.

use bytes::BytesMut;
use pgwire::messages::Message;
use shardforge_types::{Oid, PgError, Severity, SqlState};

use crate::backend::{FieldDesc, Format, Notification, TransactionStatus, result_format};
use crate::limits::SEND_BYTES_MAX;

/// An error that ends the connection.
pub(crate) fn fatal(sqlstate: SqlState, message: impl Into<String>) -> PgError {
    PgError::with_severity(Severity::Fatal, sqlstate, message)
}

/// Starts a message; give the result to [`end`].
pub(crate) fn begin(output: &mut Vec<u8>, kind: u8) -> usize {
    let start = output.len();
    output.extend_from_slice(&[kind, 0, 0, 0, 0]);
    start
}

/// Ends the message that starts at `start`. If it is longer than a client would take, it is taken back.
pub(crate) fn end(output: &mut Vec<u8>, start: usize) -> Result<(), PgError> {
    let length = output.len() - start - 1;
    if length > SEND_BYTES_MAX {
        output.truncate(start);
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "message is too long to be sent")
            .detail(format!("It has {length} bytes, the protocol's limit is {SEND_BYTES_MAX}.")));
    }
    let length = (length as u32).to_be_bytes();
    output[start + 1..start + 5].copy_from_slice(&length);
    Ok(())
}

/// A message without a body.
pub(crate) fn empty(output: &mut Vec<u8>, kind: u8) {
    output.extend_from_slice(&[kind, 0, 0, 0, 4]);
}

/// One of pgwire's messages.
pub(crate) fn message(output: &mut Vec<u8>, message: &impl Message) {
    let mut bytes = BytesMut::new();
    // Encoding into memory does not fail: pgwire's encoders return errors for the sake of their traits.
    if message.encode(&mut bytes).is_ok() {
        output.extend_from_slice(&bytes);
    }
}

fn string(output: &mut Vec<u8>, text: &str) {
    // A zero byte would end the string early and shift all that follows.
    output.extend(text.bytes().filter(|byte| *byte != 0));
    output.push(0);
}

pub(crate) fn ready_for_query(output: &mut Vec<u8>, status: TransactionStatus) {
    output.extend_from_slice(&[b'Z', 0, 0, 0, 5, status as u8]);
}

pub(crate) fn parameter_status(output: &mut Vec<u8>, name: &str, value: &str) {
    let start = begin(output, b'S');
    string(output, name);
    string(output, value);
    end_or_drop(output, start);
}

pub(crate) fn notification(output: &mut Vec<u8>, notification: &Notification) {
    let start = begin(output, b'A');
    output.extend_from_slice(&notification.process_id.to_be_bytes());
    string(output, &notification.channel);
    string(output, &notification.payload);
    end_or_drop(output, start);
}

pub(crate) fn command_complete(output: &mut Vec<u8>, tag: &str) {
    let start = begin(output, b'C');
    string(output, tag);
    end_or_drop(output, start);
}

pub(crate) fn row_description(
    output: &mut Vec<u8>,
    fields: &[FieldDesc],
    formats: &[Format],
) -> Result<(), PgError> {
    let start = begin(output, b'T');
    output.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    for (column, field) in fields.iter().enumerate() {
        string(output, &field.name);
        output.extend_from_slice(&field.table_oid.0.to_be_bytes());
        output.extend_from_slice(&field.column.to_be_bytes());
        output.extend_from_slice(&field.type_oid.0.to_be_bytes());
        output.extend_from_slice(&field.type_len.to_be_bytes());
        output.extend_from_slice(&field.typmod.to_be_bytes());
        output.extend_from_slice(&(result_format(formats, column) as i16).to_be_bytes());
    }
    end(output, start)
}

pub(crate) fn parameter_description(output: &mut Vec<u8>, types: &[Oid]) {
    let start = begin(output, b't');
    output.extend_from_slice(&(types.len() as u16).to_be_bytes());
    for oid in types {
        output.extend_from_slice(&oid.0.to_be_bytes());
    }
    end_or_drop(output, start);
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`).
pub(crate) fn copy_response(output: &mut Vec<u8>, kind: u8, format: Format, columns: usize) {
    let start = begin(output, kind);
    output.push(format as u8);
    output.extend_from_slice(&(columns as u16).to_be_bytes());
    for _ in 0..columns {
        output.extend_from_slice(&(format as i16).to_be_bytes());
    }
    end_or_drop(output, start);
}

/// ErrorResponse or NoticeResponse, whichever the severity asks for, with every field that is set.
pub(crate) fn error(output: &mut Vec<u8>, error: &PgError) {
    let start = begin(output, if error.severity < Severity::Error { b'N' } else { b'E' });
    let mut field = |code: u8, value: &str| {
        output.push(code);
        string(output, value);
    };
    field(b'S', error.severity.as_str());
    field(b'V', error.severity.as_str());
    field(b'C', error.sqlstate.code());
    field(b'M', &error.message);
    let optional = [
        (b'D', &error.detail),
        (b'H', &error.hint),
        (b'W', &error.where_),
        (b's', &error.schema),
        (b't', &error.table),
        (b'c', &error.column),
        (b'd', &error.datatype),
        (b'n', &error.constraint),
    ];
    for (code, value) in optional {
        if let Some(value) = value {
            field(code, value);
        }
    }
    if let Some(position) = error.position {
        field(b'P', &position.to_string());
    }
    output.push(0);
    end_or_drop(output, start);
}

/// For messages that only text of our own could make too long: they are left out then.
fn end_or_drop(output: &mut Vec<u8>, start: usize) {
    if let Err(too_long) = end(output, start) {
        tracing::error!(error = %too_long, "message dropped");
    }
}
