//! Rows as COPY data.

use shardforge_pgwire::Responder;
use shardforge_types::codec::row as stored;
use shardforge_types::{Oid, PgResult};

use super::options::{CopyFormat, CopyOptions, Header};
use crate::exec::env::EvalEnv;
use crate::func;
use crate::plan::{Field, OutputRow, RowSink};

/// Writes rows as CopyData messages.
pub struct CopyWriter<'a> {
    out: &'a mut Responder,
    options: &'a CopyOptions,
    types: Vec<Oid>,
    quoted: Vec<bool>,
    env: &'a EvalEnv,
    line: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> CopyWriter<'a> {
    /// A writer for rows of these types; `quoted` columns are always quoted in CSV.
    pub fn new(
        out: &'a mut Responder,
        options: &'a CopyOptions,
        types: Vec<Oid>,
        quoted: Vec<bool>,
        env: &'a EvalEnv,
    ) -> CopyWriter<'a> {
        CopyWriter { out, options, types, quoted, env, line: Vec::new(), value: Vec::new() }
    }

    /// The header line, or the binary format's signature.
    ///
    /// # Errors
    /// If a message becomes too long.
    pub fn begin(&mut self, names: &[&str]) -> PgResult<()> {
        if self.options.format == CopyFormat::Binary {
            return self.out.copy_out_data(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        }
        if self.options.header == Header::None {
            return Ok(());
        }
        let mut line = Vec::new();
        for (i, name) in names.iter().enumerate() {
            if i > 0 {
                line.push(self.options.delimiter);
            }
            match self.options.format {
                CopyFormat::Csv => put_csv(name.as_bytes(), self.options, false, names.len() == 1, &mut line),
                _ => put_text(name.as_bytes(), self.options.delimiter, &mut line),
            }
        }
        line.push(b'\n');
        self.out.copy_out_data(&line)
    }

    /// The binary format's trailer.
    ///
    /// # Errors
    /// If a message becomes too long.
    pub fn end(&mut self) -> PgResult<()> {
        match self.options.format {
            CopyFormat::Binary => self.out.copy_out_data(&(-1i16).to_be_bytes()),
            _ => Ok(()),
        }
    }

    /// Lets the connection drain.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn flush_if_full(&mut self) -> PgResult<()> {
        self.out.flush_if_full().await
    }
}

impl RowSink for CopyWriter<'_> {
    fn row(&mut self, row: &dyn OutputRow) -> PgResult<()> {
        let (options, types, quoted, env) = (self.options, &self.types, &self.quoted, self.env);
        let (line, value) = (&mut self.line, &mut self.value);
        line.clear();
        if options.format == CopyFormat::Binary {
            line.extend_from_slice(&(types.len() as i16).to_be_bytes());
        }
        for (i, ty) in types.iter().enumerate() {
            if i > 0 && options.format != CopyFormat::Binary {
                line.push(options.delimiter);
            }
            row.field(i, &mut |field| {
                value.clear();
                let binary = options.format == CopyFormat::Binary;
                match field {
                    Field::Null if binary => {
                        line.extend_from_slice(&(-1i32).to_be_bytes());
                        return Ok(());
                    }
                    Field::Null => {
                        line.extend_from_slice(options.null.as_bytes());
                        return Ok(());
                    }
                    Field::Stored(bytes) if binary => value.extend_from_slice(bytes),
                    Field::Value(datum) if binary => shardforge_types::send(*ty, datum, value),
                    Field::Stored(bytes) if !func::text_needs_catalog(*ty) => {
                        stored::text_of_value(bytes, *ty, &env.io, value)?;
                    }
                    Field::Stored(bytes) => func::output(*ty, &stored::get_value(*ty, bytes)?, env, value),
                    Field::Value(datum) => func::output(*ty, datum, env, value),
                }
                match options.format {
                    CopyFormat::Binary => {
                        line.extend_from_slice(&(value.len() as u32).to_be_bytes());
                        line.extend_from_slice(value);
                    }
                    CopyFormat::Csv => put_csv(value, options, quoted[i], types.len() == 1, line),
                    CopyFormat::Text => put_text(value, options.delimiter, line),
                }
                Ok(())
            })?;
        }
        if options.format != CopyFormat::Binary {
            line.push(b'\n');
        }
        self.out.copy_out_data(line)
    }
}

fn put_text(value: &[u8], delimiter: u8, line: &mut Vec<u8>) {
    for byte in value {
        let escape = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            b'\\' => b'\\',
            byte if *byte == delimiter => delimiter,
            _ => {
                line.push(*byte);
                continue;
            }
        };
        line.extend_from_slice(&[b'\\', escape]);
    }
}

fn put_csv(value: &[u8], options: &CopyOptions, force: bool, alone: bool, line: &mut Vec<u8>) {
    let special =
        |byte: &u8| *byte == options.delimiter || *byte == options.quote || matches!(byte, b'\n' | b'\r');
    let needs_quotes =
        force || value == options.null.as_bytes() || (alone && value == b"\\.") || value.iter().any(special);
    if !needs_quotes {
        line.extend_from_slice(value);
        return;
    }
    line.push(options.quote);
    for byte in value {
        if *byte == options.quote || *byte == options.escape {
            line.push(options.escape);
        }
        line.push(*byte);
    }
    line.push(options.quote);
}
