//! The client's side of the wire: building messages, and printing the server's as lines of text.

/// A message with its header.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A packet without type byte: startup and its kin.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    message(0, body).split_off(1)
}

pub(super) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstr(name));
        body.extend(cstr(value));
    }
    body.push(0);
    packet(&body)
}

pub(super) fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub(super) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstr(sql))
}

pub(super) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[cstr(name), cstr(sql), vec![0, 0]].concat())
}

/// A parameter: its format and its bytes.
pub(super) type Parameter<'a> = (i16, Option<&'a [u8]>);

pub(super) fn bind(portal: &str, statement: &str, params: &[Parameter<'_>], formats: &[i16]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement)].concat();
    body.extend((params.len() as u16).to_be_bytes());
    for (format, _) in params {
        body.extend(format.to_be_bytes());
    }
    body.extend((params.len() as u16).to_be_bytes());
    for (_, value) in params {
        match value {
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend((-1i32).to_be_bytes()),
        }
    }
    body.extend((formats.len() as u16).to_be_bytes());
    for format in formats {
        body.extend(format.to_be_bytes());
    }
    message(b'B', &body)
}

pub(super) fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    message(b'E', &[cstr(portal), max_rows.to_be_bytes().to_vec()].concat())
}

/// Describe (`D`) or Close (`C`) of a statement (`S`) or portal (`P`).
pub(super) fn about(kind: u8, target: u8, name: &str) -> Vec<u8> {
    message(kind, &[vec![target], cstr(name)].concat())
}

/// Takes the first message of a server's stream; `None` if it has not arrived in full.
pub(super) fn split(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    // The answer to SSLRequest is a lone byte; NoticeResponse has a length that begins with zero.
    if bytes.first() == Some(&b'N') && bytes.get(1).is_none_or(|next| *next != 0) {
        bytes.remove(0);
        return Some((0, b"N".to_vec()));
    }
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
    if bytes.len() < length + 1 {
        return None;
    }
    let message: Vec<u8> = bytes.drain(..=length).collect();
    Some((message[0], message[5..].to_vec()))
}

/// One line for a message of the server; panics if it is not one.
pub(super) fn show(kind: u8, body: &[u8]) -> String {
    let mut reader = Reader(body);
    let line = match kind {
        0 => format!("encryption refused: {}", String::from_utf8_lossy(reader.rest())),
        b'R' => match reader.u32() {
            0 => "AuthenticationOk".to_owned(),
            10 => format!("AuthenticationSASL {}", reader.strings().join(" ")),
            11 => {
                reader.rest();
                "AuthenticationSASLContinue".to_owned()
            }
            other => panic!("authentication {other}"),
        },
        b'v' => {
            format!("NegotiateProtocolVersion {} {}", reader.version(), reader.counted_strings().join(" "))
        }
        b'S' => format!("ParameterStatus {}={}", reader.string(), reader.string()),
        b'K' => format!("BackendKeyData, a key of {} bytes", {
            reader.u32();
            reader.rest().len()
        }),
        b'Z' => format!("ReadyForQuery {}", reader.u8() as char),
        b'T' => {
            let columns: Vec<String> = (0..reader.u16()).map(|_| reader.field()).collect();
            format!("RowDescription {}", columns.join(", "))
        }
        b'D' => {
            let columns: Vec<String> = (0..reader.u16()).map(|_| reader.value()).collect();
            format!("DataRow {}", columns.join(", "))
        }
        b'C' => format!("CommandComplete {}", reader.string()),
        b'A' => {
            let process_id = reader.u32();
            format!("NotificationResponse {process_id} {} {:?}", reader.string(), reader.string())
        }
        b'1' => "ParseComplete".to_owned(),
        b'2' => "BindComplete".to_owned(),
        b'3' => "CloseComplete".to_owned(),
        b'n' => "NoData".to_owned(),
        b's' => "PortalSuspended".to_owned(),
        b'I' => "EmptyQueryResponse".to_owned(),
        b't' => {
            let types: Vec<String> = (0..reader.u16()).map(|_| reader.u32().to_string()).collect();
            format!("ParameterDescription {}", types.join(", "))
        }
        b'E' => format!("ErrorResponse {}", reader.fields()),
        b'N' => format!("NoticeResponse {}", reader.fields()),
        b'G' | b'H' => {
            let name = if kind == b'G' { "CopyInResponse" } else { "CopyOutResponse" };
            let format = reader.u8();
            let columns: Vec<String> = (0..reader.u16()).map(|_| reader.u16().to_string()).collect();
            format!("{name} format {format}, columns {}", columns.join(" "))
        }
        b'd' => format!("CopyData {:?}", String::from_utf8_lossy(reader.rest())),
        b'c' => "CopyDone".to_owned(),
        other => panic!("message of type {other}"),
    };
    assert!(reader.0.is_empty(), "{line}: {} bytes are left", reader.0.len());
    line.trim_end().to_owned()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn rest(&mut self) -> &'a [u8] {
        self.take(self.0.len())
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn string(&mut self) -> &'a str {
        let end = self.0.iter().position(|byte| *byte == 0).expect("a string ends");
        let text = std::str::from_utf8(self.take(end)).expect("the server sends UTF-8");
        self.u8();
        text
    }

    fn version(&mut self) -> String {
        let version = self.u32();
        format!("{}.{}", version >> 16, version & 0xffff)
    }

    fn strings(&mut self) -> Vec<&'a str> {
        let mut strings = vec![];
        while self.0.first() != Some(&0) {
            strings.push(self.string());
        }
        self.u8();
        strings
    }

    fn counted_strings(&mut self) -> Vec<&'a str> {
        (0..self.u32()).map(|_| self.string()).collect()
    }

    fn fields(&mut self) -> String {
        let mut fields = vec![];
        loop {
            match self.u8() {
                0 => return fields.join(" | "),
                code => fields.push(format!("{} {}", code as char, self.string())),
            }
        }
    }

    fn field(&mut self) -> String {
        let name = self.string();
        let (table, column, oid, len) = (self.u32(), self.u16(), self.u32(), self.u16() as i16);
        let (typmod, format) = (self.u32() as i32, self.u16());
        format!("{name} table {table}.{column} type {oid} len {len} typmod {typmod} format {format}")
    }

    fn value(&mut self) -> String {
        match self.u32() as i32 {
            -1 => "NULL".to_owned(),
            length if length > 100 => format!("a value of {} bytes", self.take(length as usize).len()),
            length => format!("{:?}", String::from_utf8_lossy(self.take(length as usize))),
        }
    }
}
