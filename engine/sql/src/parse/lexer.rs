//! From text to tokens.
//!
//! sqlparser's tokenizer cuts the text: it finds words, strings, comments and blanks. It is asked to keep everything
//! raw, and what it says about operators and numbers is not believed, because PostgreSQL's rules differ: `a<-1` is
//! three tokens and `a@-1` two operators' worth of one; `1..10` is not `1.` and `.10`; a string continues after a
//! newline. So each cut is looked at again with PostgreSQL's own rule for what begins there (`scan.l`):
//!
//! ```text
//!   text      a <- 1..2          sqlparser     a | |<|-| |1.|.2|
//!                                PostgreSQL    a | |<|-| |1|..|2|
//!                                                       ^ the rule for numbers ends before the cut does:
//!                                                         cut anew from there
//! ```
//!
//! Where a rule ends beyond the cut, the cuts inside are skipped; where it ends before, or where the tokenizer gave
//! up (on an escape it does not know, say), the text is cut anew from the rule's end. What that may cost is bounded.
//!
//! A token is a kind and two byte offsets. Its text is read from the source when the grammar wants it, so that lexing
//! allocates nothing per token of its own. An error of the lexer is a token too: the grammar may find a syntax
//! error before it.

use std::any::TypeId;

use sqlparser::dialect::{Dialect, PostgreSqlDialect};
use sqlparser::tokenizer::{Token as Cut, TokenWithSpan, Tokenizer};

use super::error::{PResult, ParseError};
use super::keywords::{self, Kw};
use shardforge_types::SqlState;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The end of the text.
    Eof,
    /// Where the lexer failed.
    Bad,
    /// A keyword.
    Kw(Kw),
    /// A plain identifier.
    Ident,
    /// `"..."`.
    QuotedIdent,
    /// `U&"..."`.
    UnicodeIdent,
    /// `'...'`, with its continuations.
    Str,
    /// `E'...'`.
    EscapeStr,
    /// `U&'...'`.
    UnicodeStr,
    /// `$tag$...$tag$`.
    DollarStr,
    /// `B'...'`.
    BitStr,
    /// `X'...'`.
    HexStr,
    /// An integer that fits 32 bits.
    Int,
    /// Any other number.
    Float,
    /// `$1`.
    Param,
    /// An operator without a kind of its own.
    Op,
    /// `::`.
    Typecast,
    /// `..`.
    DotDot,
    /// `:=`.
    ColonEquals,
    /// `=>`.
    Arrow,
    /// `<=`.
    LessEquals,
    /// `>=`.
    GreaterEquals,
    /// `<>` or `!=`.
    NotEquals,
    /// Any other single character (of several bytes: its first).
    Char(u8),
}

/// A token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tok {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// All tokens of a text, [`Kind::Eof`] or [`Kind::Bad`] last, and the error behind the latter.
pub(super) struct Lexed {
    pub(super) toks: Vec<Tok>,
    pub(super) error: Option<Box<ParseError>>,
}

/// Cuts as PostgreSQL would as far as the tokenizer lets a dialect say so.
#[derive(Debug)]
struct LexDialect;

impl Dialect for LexDialect {
    /// Passes for PostgreSQL's where the tokenizer asks: bit strings, `\r` ends a comment.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_ascii_alphabetic() || ch == '_' || !ch.is_ascii()
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_ascii_alphanumeric() || ch == '_' || ch == '$' || !ch.is_ascii()
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
}

/// Bytes that may be cut again because the tokenizer's cuts and PostgreSQL's differ, as a multiple of the text.
/// Text in which they differ more often than this was made to do so.
const RECUT_FACTOR: usize = 4;

/// Cut `sql` into tokens.
pub(super) fn lex(sql: &str) -> Lexed {
    let mut lexer = Lexer { sql, src: sql.as_bytes(), toks: Vec::with_capacity(sql.len() / 4 + 4) };
    let error = lexer.run().err();
    let (kind, start) = match &error {
        Some(e) => (Kind::Bad, e.pos.unwrap_or(0)),
        None => (Kind::Eof, sql.len() as u32),
    };
    lexer.toks.push(Tok { kind, start, end: sql.len() as u32 });
    Lexed { toks: lexer.toks, error }
}

struct Lexer<'a> {
    sql: &'a str,
    src: &'a [u8],
    toks: Vec<Tok>,
}

impl Lexer<'_> {
    fn run(&mut self) -> PResult<()> {
        let dialect = LexDialect;
        let mut cuts: Vec<TokenWithSpan> = Vec::with_capacity(self.src.len() / 3 + 4);
        let mut allowance = self.src.len().saturating_mul(RECUT_FACTOR).saturating_add(1 << 18);
        let mut base = 0;
        'cut: loop {
            cuts.clear();
            let outcome = Tokenizer::new(&dialect, &self.sql[base..])
                .with_unescape(false)
                .tokenize_with_location_into_buf(&mut cuts);
            // `end` follows the tokenizer's cuts, `done` PostgreSQL's tokens.
            let (mut end, mut done) = (base, base);
            for cut in &cuts {
                let start = end;
                end = self.end_of(cut, start);
                if end <= done {
                    continue;
                }
                if start == done {
                    done = match cut.token {
                        Cut::Whitespace(_) => end,
                        _ => self.token(start, end)?,
                    };
                }
                if done < end {
                    // The rest of the text is cut again.
                    let rest = self.src.len() - done;
                    allowance = allowance.checked_sub(rest).ok_or_else(|| {
                        ParseError::new(
                            SqlState::STATEMENT_TOO_COMPLEX,
                            "statement is too complex",
                            done as u32,
                        )
                    })?;
                    base = done;
                    continue 'cut;
                }
                if done > end {
                    // Skip the cuts inside; one that straddles the token's end is caught by `start < done` below.
                    continue;
                }
            }
            if outcome.is_ok() && done <= end {
                return Ok(());
            }
            base = match outcome {
                Ok(()) => done,
                Err(_) if done > end => done,
                // The tokenizer gave up at `end`: PostgreSQL's rule decides what is there.
                Err(_) => self.refused(end)?,
            };
            if base >= self.src.len() {
                return Ok(());
            }
        }
    }

    /// The byte offset where a cut ends: its span counts lines and characters.
    fn end_of(&self, cut: &TokenWithSpan, start: usize) -> usize {
        let (from, to) = (cut.span.start, cut.span.end);
        let (mut at, mut chars) = (start, to.column.saturating_sub(from.column));
        if to.line != from.line {
            for _ in from.line..to.line {
                at += self.src[at..].iter().position(|b| *b == b'\n').map_or(0, |i| i + 1);
            }
            chars = to.column.saturating_sub(1);
        }
        for _ in 0..chars {
            at += char_len(self.src, at);
        }
        at.min(self.src.len())
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        self.toks.push(Tok { kind, start: start as u32, end: end as u32 });
        end
    }

    fn byte(&self, at: usize) -> u8 {
        self.src.get(at).copied().unwrap_or(0)
    }

    /// The token at `start`, which the tokenizer ended at `cut`. Answers where PostgreSQL ends it.
    fn token(&mut self, start: usize, cut: usize) -> PResult<usize> {
        match self.byte(start) {
            b'0'..=b'9' => self.number(start),
            b'.' if self.byte(start + 1).is_ascii_digit() => self.number(start),
            b'.' if self.byte(start + 1) == b'.' => Ok(self.push(Kind::DotDot, start, start + 2)),
            b'\'' => Ok(self.string(Kind::Str, start, cut)),
            b'"' => self.quoted_identifier(Kind::QuotedIdent, start, start),
            b'$' => self.dollar(start),
            b if is_ident_start(b) => self.word(start, cut),
            b if is_op_char(b) => self.operator(start),
            b':' if self.byte(start + 1) == b':' => Ok(self.push(Kind::Typecast, start, start + 2)),
            b':' if self.byte(start + 1) == b'=' => Ok(self.push(Kind::ColonEquals, start, start + 2)),
            b => Ok(self.push(Kind::Char(b), start, start + char_len(self.src, start))),
        }
    }

    /// What stands where the tokenizer gave up.
    fn refused(&mut self, start: usize) -> PResult<usize> {
        match self.byte(start) {
            b'\'' => {
                let end = self.quoted(start, start, "unterminated quoted string", false)?;
                Ok(self.string(Kind::Str, start, end))
            }
            b'/' if self.byte(start + 1) == b'*' => Err(self.unterminated("unterminated /* comment", start)),
            b if is_ident_start(b) => {
                let mut end = start + 1;
                while is_ident_part(self.byte(end)) {
                    end += 1;
                }
                self.word(start, end)
            }
            _ => self.token(start, start),
        }
    }

    /// A word, or a string that begins with a letter.
    fn word(&mut self, start: usize, cut: usize) -> PResult<usize> {
        let (first, second) = (self.byte(start).to_ascii_lowercase(), self.byte(start + 1));
        if second == b'\'' {
            let (kind, name) = match first {
                b'e' => (Kind::EscapeStr, "unterminated quoted string"),
                b'b' => (Kind::BitStr, "unterminated bit string literal"),
                b'x' => (Kind::HexStr, "unterminated hexadecimal string literal"),
                b'n' => {
                    self.push(Kind::Kw(Kw::Nchar), start, start + 1);
                    let end = self.quoted(start + 1, start + 1, "unterminated quoted string", false)?;
                    return Ok(self.string(Kind::Str, start + 1, end));
                }
                _ => return Ok(self.identifier(start, cut)),
            };
            let end = self.quoted(start, start + 1, name, first == b'e')?;
            return Ok(self.string(kind, start, end));
        }
        if first == b'u' && second == b'&' {
            match self.byte(start + 2) {
                b'\'' => {
                    let end = self.quoted(start, start + 2, "unterminated quoted string", false)?;
                    return Ok(self.string(Kind::UnicodeStr, start, end));
                }
                b'"' => return self.quoted_identifier(Kind::UnicodeIdent, start, start + 2),
                _ => (),
            }
        }
        Ok(self.identifier(start, cut))
    }

    fn identifier(&mut self, start: usize, end: usize) -> usize {
        let kind = keywords::lookup(&self.sql[start..end]).map_or(Kind::Ident, Kind::Kw);
        self.push(kind, start, end)
    }

    /// Push a string, or lengthen the one before it when this one continues it after a newline.
    fn string(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        if kind == Kind::Str
            && let Some(last) = self.toks.last_mut()
            && matches!(
                last.kind,
                Kind::Str | Kind::EscapeStr | Kind::UnicodeStr | Kind::BitStr | Kind::HexStr
            )
            && is_continuation_gap(&self.src[last.end as usize..start])
        {
            // In an E'' string the continuation has escapes too, so it may end elsewhere than it was cut.
            let escapes = last.kind == Kind::EscapeStr;
            let end = if escapes { end_of_quoted(self.src, start, true).unwrap_or(end) } else { end };
            last.end = end as u32;
            return end;
        }
        self.push(kind, start, end)
    }

    /// The end of a string whose quote opens at `quote`.
    fn quoted(&self, start: usize, quote: usize, unterminated: &str, escapes: bool) -> PResult<usize> {
        end_of_quoted(self.src, quote, escapes).ok_or_else(|| self.unterminated(unterminated, start))
    }

    fn unterminated(&self, message: &str, start: usize) -> Box<ParseError> {
        ParseError::near(message, self.sql, start as u32, self.src.len() as u32)
    }

    fn quoted_identifier(&mut self, kind: Kind, start: usize, quote: usize) -> PResult<usize> {
        let mut at = quote + 1;
        loop {
            match self.src.get(at) {
                None => return Err(self.unterminated("unterminated quoted identifier", start)),
                Some(b'"') if self.byte(at + 1) == b'"' => at += 2,
                Some(b'"') => break,
                Some(_) => at += 1,
            }
        }
        if at == quote + 1 {
            return Err(self.near("zero-length delimited identifier", start, at + 1));
        }
        Ok(self.push(kind, start, at + 1))
    }

    fn near(&self, message: &str, start: usize, end: usize) -> Box<ParseError> {
        ParseError::near(message, self.sql, start as u32, end as u32)
    }

    /// `$1`, `$tag$...$tag$`, or a lone `$`.
    fn dollar(&mut self, start: usize) -> PResult<usize> {
        let mut at = start + 1;
        if self.byte(at).is_ascii_digit() {
            while self.byte(at).is_ascii_digit() {
                at += 1;
            }
            if is_ident_start(self.byte(at)) {
                let end = self.identifier_end(at);
                return Err(self.near("trailing junk after parameter", start, end));
            }
            if self.sql[start + 1..at].parse::<i32>().is_err() {
                return Err(self.near("parameter number too large", start, at));
            }
            return Ok(self.push(Kind::Param, start, at));
        }
        if is_ident_start(self.byte(at)) {
            while is_ident_part(self.byte(at)) && self.byte(at) != b'$' {
                at += 1;
            }
        }
        if self.byte(at) != b'$' {
            return Ok(self.push(Kind::Char(b'$'), start, start + 1));
        }
        let tag = &self.sql[start..=at];
        match self.sql[at + 1..].find(tag) {
            Some(i) => Ok(self.push(Kind::DollarStr, start, at + 1 + i + tag.len())),
            None => Err(self.unterminated("unterminated dollar-quoted string", start)),
        }
    }

    fn identifier_end(&self, mut at: usize) -> usize {
        while is_ident_part(self.byte(at)) {
            at += 1;
        }
        at
    }

    /// The end of a run of digits with single underscores between them; `at` itself when there is none.
    fn digits(&self, mut at: usize, is_digit: fn(u8) -> bool) -> usize {
        while is_digit(self.byte(at)) || (self.byte(at) == b'_' && is_digit(self.byte(at + 1))) {
            at += 1;
        }
        at
    }

    fn number(&mut self, start: usize) -> PResult<usize> {
        if self.byte(start) == b'0' {
            let radix: Option<(fn(u8) -> bool, &str)> = match self.byte(start + 1) {
                b'x' | b'X' => Some((|b| b.is_ascii_hexdigit(), "invalid hexadecimal integer")),
                b'o' | b'O' => Some((|b| matches!(b, b'0'..=b'7'), "invalid octal integer")),
                b'b' | b'B' => Some((|b| matches!(b, b'0' | b'1'), "invalid binary integer")),
                _ => None,
            };
            if let Some((is_digit, message)) = radix {
                let end = self.digits(start + 2, is_digit);
                // What goes on as an identifier would is junk after the digit 0.
                let underscore = usize::from(end == start + 2 && self.byte(end) == b'_');
                if is_ident_part(self.byte(end + underscore)) {
                    let end = self.identifier_end(end);
                    return Err(self.near("trailing junk after numeric literal", start, end));
                }
                if end == start + 2 {
                    return Err(self.near(message, start, end + underscore));
                }
                return self.number_end(start, end, true);
            }
        }
        let mut end = start;
        if self.byte(start) != b'.' {
            end = self.digits(start, |b| b.is_ascii_digit());
        }
        let mut integer = true;
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            integer = false;
            end += 1;
            if self.byte(end).is_ascii_digit() {
                end = self.digits(end, |b| b.is_ascii_digit());
            }
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(end + 1 + sign).is_ascii_digit() {
                integer = false;
                end = self.digits(end + 1 + sign, |b| b.is_ascii_digit());
            } else if sign == 1 {
                return Err(self.near("trailing junk after numeric literal", start, end + 2));
            }
        }
        self.number_end(start, end, integer)
    }

    fn number_end(&mut self, start: usize, end: usize, integer: bool) -> PResult<usize> {
        if is_ident_start(self.byte(end)) {
            let end = self.identifier_end(end);
            return Err(self.near("trailing junk after numeric literal", start, end));
        }
        let fits = integer && super::literal::integer(&self.sql[start..end]).is_some();
        Ok(self.push(if fits { Kind::Int } else { Kind::Float }, start, end))
    }

    /// The longest run of operator characters, less what PostgreSQL takes off it.
    fn operator(&mut self, start: usize) -> PResult<usize> {
        let mut end = start;
        while is_op_char(self.byte(end)) {
            let comment = matches!((self.byte(end), self.byte(end + 1)), (b'-', b'-') | (b'/', b'*'));
            if comment && end > start {
                break;
            }
            end += 1;
        }
        // A trailing + or - belongs to the next token, so that `a<-1` works, unless the operator has a character that
        // no standard operator has.
        let special =
            |b: &u8| matches!(b, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%');
        if !self.src[start..end].iter().any(special) {
            while end - start > 1 && matches!(self.byte(end - 1), b'+' | b'-') {
                end -= 1;
            }
        }
        let kind = match &self.src[start..end] {
            [b @ (b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=')] => Kind::Char(*b),
            b"=>" => Kind::Arrow,
            b">=" => Kind::GreaterEquals,
            b"<=" => Kind::LessEquals,
            b"<>" | b"!=" => Kind::NotEquals,
            text if text.len() > 63 => return Err(self.near("operator too long", start, end)),
            _ => Kind::Op,
        };
        Ok(self.push(kind, start, end))
    }
}

/// The end of a string whose quote opens at `quote`, or nothing if it does not end.
fn end_of_quoted(src: &[u8], quote: usize, escapes: bool) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        match *src.get(at)? {
            b'\\' if escapes => at += 2,
            b'\'' if src.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Whether two strings with this between them are one: blanks and `--` comments with at least one newline.
pub(super) fn is_continuation_gap(gap: &[u8]) -> bool {
    let (mut at, mut newline) = (0, false);
    while at < gap.len() {
        match gap[at] {
            b'\n' | b'\r' => newline = true,
            b' ' | b'\t' | 0x0B | 0x0C => (),
            b'-' if gap.get(at + 1) == Some(&b'-') => {
                while at < gap.len() && !matches!(gap[at], b'\n' | b'\r') {
                    at += 1;
                }
                continue;
            }
            _ => return false,
        }
        at += 1;
    }
    newline
}

fn is_op_char(b: u8) -> bool {
    matches!(
        b,
        b'~' | b'!'
            | b'@'
            | b'#'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'<'
            | b'>'
            | b'='
    )
}

fn is_ident_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_ident_part(b: u8) -> bool {
    is_ident_start(b) || b.is_ascii_digit() || b == b'$'
}

/// The length of the character at `at`.
fn char_len(src: &[u8], at: usize) -> usize {
    match src.get(at) {
        Some(0xC0..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..) => 4,
        _ => 1,
    }
}
