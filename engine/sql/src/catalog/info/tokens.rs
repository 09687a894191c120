//! Tokens of deparsed SQL: just what is needed to find names and to match parentheses.

/// A token, by its place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    /// Byte offset of its first byte.
    pub start: usize,
    /// Byte offset behind its last byte.
    pub end: usize,
}

impl Token {
    /// Its text.
    pub fn of<'a>(&self, sql: &'a str) -> &'a str {
        &sql[self.start..self.end]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, keyword or number.
    Word,
    /// A string or a quoted name.
    Quoted,
    /// Operator characters in a row.
    Operator,
    /// `::`
    Cast,
    Open,
    Close,
    /// `,` `.` `[` `]` and the like.
    Other,
}

/// The position of the parenthesis that closes the one at `open`; past the end if there is none.
pub(super) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth <= 1 => return i,
            Kind::Close => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The same for brackets.
pub(super) fn closing_bracket(sql: &str, tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match &sql[token.start..token.end] {
            "[" => depth += 1,
            "]" if depth <= 1 => return i,
            "]" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The tokens of a text. Blanks are none.
pub(super) fn tokens(sql: &str) -> Vec<Token> {
    let bytes = sql.as_bytes();
    let mut out = Vec::new();
    let mut start = 0;
    while let Some(first) = bytes.get(start) {
        let run = |accept: fn(u8) -> bool| {
            bytes[start..].iter().position(|b| !accept(*b)).map_or(bytes.len(), |n| start + n)
        };
        let (kind, end) = match first {
            b' ' | b'\n' | b'\t' | b'\r' => {
                start += 1;
                continue;
            }
            b'(' => (Kind::Open, start + 1),
            b')' => (Kind::Close, start + 1),
            quote @ (b'\'' | b'"') => (Kind::Quoted, end_of_quoted(bytes, start, *quote)),
            b':' if bytes.get(start + 1) == Some(&b':') => (Kind::Cast, start + 2),
            b if is_operator(*b) => (Kind::Operator, run(is_operator)),
            b if is_word(*b) => (Kind::Word, run(is_word)),
            _ => (Kind::Other, start + 1),
        };
        out.push(Token { kind, start, end });
        start = end;
    }
    out
}

fn is_operator(b: u8) -> bool {
    b"+-*/<>=~!@#%^&|`?".contains(&b)
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

/// Where a string or quoted name ends; a doubled quote stands for one.
fn end_of_quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}
