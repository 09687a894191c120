//! Result rows as DataRow messages, and parameter values from Bind messages.

use shardforge_pgwire::{FieldDesc, Format, RawParam, Responder, result_format};
use shardforge_types::codec::row;
use shardforge_types::{Datum, Oid, PgError, PgResult, TypeInfo, oid};

use crate::catalog::builtin::builtin;
use crate::exec::env::EvalEnv;
use crate::func;
use crate::ir::{OutputColumn, Ty};
use crate::plan::{Field, OutputRow, RowSink};

/// Writes rows into the connection's buffer.
pub struct WireSink<'a> {
    out: &'a mut Responder,
    columns: &'a [WireColumn],
    env: &'a EvalEnv,
}

/// How a result column is written.
#[derive(Clone, Copy, Debug)]
pub struct WireColumn {
    ty: Oid,
    format: Format,
    /// Its text form is that of the stored value: no name has to be looked up for it.
    plain: bool,
}

impl WireColumn {
    /// The columns of a result in the formats that a Bind message asked for.
    pub fn of(output: &[OutputColumn], formats: &[Format]) -> Vec<WireColumn> {
        output
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let ty = column.col.ty.oid;
                WireColumn { ty, format: result_format(formats, i), plain: !func::text_needs_catalog(ty) }
            })
            .collect()
    }
}

impl<'a> WireSink<'a> {
    /// Rows with these columns go to this connection.
    pub fn new(out: &'a mut Responder, columns: &'a [WireColumn], env: &'a EvalEnv) -> WireSink<'a> {
        WireSink { out, columns, env }
    }
}

impl RowSink for WireSink<'_> {
    fn row(&mut self, row: &dyn OutputRow) -> PgResult<()> {
        let env = self.env;
        let mut writer = self.out.data_row(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            row.field(index, &mut |field| match (field, column.format) {
                (Field::Null, _) => {
                    writer.null();
                    Ok(())
                }
                (Field::Stored(bytes), Format::Binary) => {
                    writer.bytes(bytes);
                    Ok(())
                }
                (Field::Stored(bytes), Format::Text) if column.plain => {
                    writer.value(|out| row::text_of_value(bytes, column.ty, &env.io, out))
                }
                (Field::Stored(bytes), Format::Text) => {
                    let value = row::get_value(column.ty, bytes)?;
                    writer.value(|out| {
                        func::output(column.ty, &value, env, out);
                        Ok(())
                    })
                }
                (Field::Value(value), Format::Text) => writer.value(|out| {
                    func::output(column.ty, value, env, out);
                    Ok(())
                }),
                (Field::Value(value), Format::Binary) => writer.value(|out| {
                    shardforge_types::send(column.ty, value, out);
                    Ok(())
                }),
            })?;
        }
        writer.finish()
    }
}

/// Whether columns, as the client was told of them, are those of a plan, in names and types.
pub fn describe(told: &[FieldDesc], output: &[OutputColumn]) -> bool {
    told.len() == output.len()
        && told
            .iter()
            .zip(output)
            .all(|(told, column)| told.type_oid == type_on_the_wire(column) && told.name == column.name)
}

/// A result column is never of type unknown: an untyped literal is text.
fn type_on_the_wire(column: &OutputColumn) -> Oid {
    match column.col.ty.oid {
        oid::UNKNOWN => oid::TEXT,
        ty => ty,
    }
}

/// RowDescription's view of result columns.
pub fn fields(output: &[OutputColumn]) -> Vec<FieldDesc> {
    output
        .iter()
        .map(|column| {
            let ty = type_on_the_wire(column);
            FieldDesc {
                name: column.name.clone(),
                table_oid: column.origin.0,
                column: column.origin.1,
                type_oid: ty,
                type_len: type_len(ty),
                typmod: column.col.ty.typmod,
            }
        })
        .collect()
}

fn type_len(ty: Oid) -> i16 {
    match TypeInfo::of(ty) {
        Some(info) => info.len,
        None => builtin().type_by_oid(ty).map_or(-1, |desc| desc.len),
    }
}

/// A parameter value of a Bind message.
///
/// # Errors
/// The type's input errors.
pub fn parameter(raw: RawParam<'_>, ty: Ty, env: &EvalEnv) -> PgResult<Datum> {
    let Some(bytes) = raw.value else { return Ok(Datum::Null) };
    match raw.format {
        Format::Binary if is_row(ty.oid) => {
            Err(PgError::not_supported("row values are not supported as parameters in binary form")
                .hint("Send their fields as parameters."))
        }
        Format::Binary => shardforge_types::recv(ty.oid, -1, bytes),
        Format::Text => func::input(ty.oid, -1, text_of(bytes)?, env),
    }
}

/// Whether values of the type are rows, or hold them.
fn is_row(ty: Oid) -> bool {
    matches!(ty, oid::RECORD | oid::RECORD_ARRAY) || TypeInfo::of(ty).is_none()
}

/// A client's bytes as text, in which there are no zero bytes.
///
/// # Errors
/// 22021 if they are not UTF-8, or have a zero byte.
pub fn text_of(bytes: &[u8]) -> PgResult<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| invalid_utf8(bytes, error.valid_up_to()))?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(invalid_utf8(bytes, at)),
    }
}

/// 22021, as PostgreSQL words it.
pub fn invalid_utf8(bytes: &[u8], at: usize) -> shardforge_types::PgError {
    let rest = &bytes[at.min(bytes.len())..];
    let wanted = match rest.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 1,
    };
    let shown: Vec<String> = rest.iter().take(wanted).map(|b| format!("0x{b:02x}")).collect();
    shardforge_types::PgError::new(
        shardforge_types::SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    )
}
