//! `json` is text that is known to be JSON: checked when it is read, kept as it was written.
//!
//! The checker keeps a stack of its own, so nesting costs memory by the byte, and errors show the line up to the
//! offending token as PostgreSQL does.

use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

/// Checks that a text is one JSON value.
pub fn check(text: &str) -> PgResult<()> {
    let mut lexer = Lexer { text, start: 0, end: 0, line: 1, line_start: 0 };
    // What is open around the current place: `true` an object, `false` an array.
    let mut open: Vec<bool> = Vec::new();
    let mut expect = Expect::Value;
    loop {
        let token = lexer.next()?;
        expect = match (expect, token) {
            (Expect::Value | Expect::ArrayStart, Token::Scalar | Token::String) => after_value(&open),
            (Expect::Value | Expect::ArrayStart, Token::Punctuation(b'{')) => {
                open.push(true);
                Expect::ObjectStart
            }
            (Expect::Value | Expect::ArrayStart, Token::Punctuation(b'[')) => {
                open.push(false);
                Expect::ArrayStart
            }
            (Expect::ObjectStart | Expect::Label, Token::String) => Expect::Colon,
            (Expect::Colon, Token::Punctuation(b':')) => Expect::Value,
            (Expect::ObjectNext, Token::Punctuation(b',')) => Expect::Label,
            (Expect::ArrayNext, Token::Punctuation(b',')) => Expect::Value,
            (Expect::ObjectStart | Expect::ObjectNext, Token::Punctuation(b'}'))
            | (Expect::ArrayStart | Expect::ArrayNext, Token::Punctuation(b']')) => {
                open.pop();
                after_value(&open)
            }
            (Expect::End, Token::End) => return Ok(()),
            (expect, token) => return Err(lexer.unexpected(expect, token)),
        };
    }
}

fn after_value(open: &[bool]) -> Expect {
    match open.last() {
        None => Expect::End,
        Some(true) => Expect::ObjectNext,
        Some(false) => Expect::ArrayNext,
    }
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ArrayStart,
    ArrayNext,
    ObjectStart,
    ObjectNext,
    Label,
    Colon,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A number, `true`, `false` or `null`.
    Scalar,
    String,
    Punctuation(u8),
    End,
}

struct Lexer<'a> {
    text: &'a str,
    /// The current token.
    start: usize,
    end: usize,
    line: usize,
    line_start: usize,
}

impl Lexer<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn next(&mut self) -> PgResult<Token> {
        let mut at = self.end;
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.byte(at) {
            at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = at;
            }
        }
        (self.start, self.end) = (at, at);
        let Some(byte) = self.byte(at) else { return Ok(Token::End) };
        match byte {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.end += 1;
                Ok(Token::Punctuation(byte))
            }
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    /// The end of the letters, digits and bytes beyond ASCII at a place.
    fn word_end(&self, from: usize) -> usize {
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
        from + self.text.as_bytes()[from..].iter().take_while(|b| is_word(b)).count()
    }

    fn word(&mut self) -> PgResult<Token> {
        self.end = self.word_end(self.start);
        if self.end == self.start {
            self.end += 1;
        }
        match &self.text[self.start..self.end] {
            "true" | "false" | "null" => Ok(Token::Scalar),
            _ => Err(self.invalid_token()),
        }
    }

    fn number(&mut self) -> PgResult<Token> {
        let digits = |from: usize| {
            from + self.text.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let mut at = self.start + usize::from(self.byte(self.start) == Some(b'-'));
        let mut good = true;
        match self.byte(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at = digits(at),
            _ => good = false,
        }
        if self.byte(at) == Some(b'.') {
            let end = digits(at + 1);
            good &= end > at + 1;
            at = end;
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            let from = at + 1 + usize::from(matches!(self.byte(at + 1), Some(b'+' | b'-')));
            let end = digits(from);
            good &= end > from;
            at = end;
        }
        self.end = self.word_end(at);
        if good && self.end == at { Ok(Token::Scalar) } else { Err(self.invalid_token()) }
    }

    fn string(&mut self) -> PgResult<Token> {
        let mut at = self.start + 1;
        loop {
            match self.byte(at) {
                None => {
                    self.end = at;
                    return Err(self.invalid_token());
                }
                Some(b'"') => {
                    self.end = at + 1;
                    return Ok(Token::String);
                }
                Some(byte @ 0..0x20) => {
                    self.end = at;
                    return Err(self.error(format!("Character with value 0x{byte:02x} must be escaped.")));
                }
                Some(b'\\') => at = self.escape(at + 1)?,
                Some(_) => at += 1,
            }
        }
    }

    /// Checks the escape sequence whose character after the backslash is at `at`; answers where it ends.
    fn escape(&mut self, at: usize) -> PgResult<usize> {
        let Some(escaped) = self.text[at..].chars().next() else {
            self.end = at;
            return Err(self.invalid_token());
        };
        match escaped {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => Ok(at + 1),
            'u' => {
                for digit in at + 1..at + 5 {
                    let Some(next) = self.text[digit..].chars().next() else {
                        self.end = digit;
                        return Err(self.invalid_token());
                    };
                    if !next.is_ascii_hexdigit() {
                        self.end = digit + next.len_utf8();
                        return Err(self.error("\"\\u\" must be followed by four hexadecimal digits."));
                    }
                }
                Ok(at + 5)
            }
            other => {
                self.end = at + other.len_utf8();
                Err(self.error(format!("Escape sequence \"\\{other}\" is invalid.")))
            }
        }
    }

    fn token(&self) -> &str {
        &self.text[self.start..self.end]
    }

    #[cold]
    fn invalid_token(&self) -> PgError {
        self.error(format!("Token \"{}\" is invalid.", self.token()))
    }

    #[cold]
    fn unexpected(&self, expect: Expect, token: Token) -> PgError {
        if token == Token::End {
            return self.context(self.plain_error("The input string ended unexpectedly."), true);
        }
        let wanted = match expect {
            Expect::Value | Expect::ArrayStart => "JSON value",
            Expect::ArrayNext => "\",\" or \"]\"",
            Expect::ObjectStart => "string or \"}\"",
            Expect::ObjectNext => "\",\" or \"}\"",
            Expect::Label => "string",
            Expect::Colon => "\":\"",
            Expect::End => "end of input",
        };
        self.error(format!("Expected {wanted}, but found \"{}\".", self.token()))
    }

    fn plain_error(&self, detail: impl Into<String>) -> PgError {
        PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .detail(detail)
    }

    #[cold]
    fn error(&self, detail: impl Into<String>) -> PgError {
        self.context(self.plain_error(detail), false)
    }

    /// Adds the line up to the end of the token, at most some fifty bytes of it.
    fn context(&self, error: PgError, at_end: bool) -> PgError {
        let mut from = self.line_start;
        while self.end - from >= 50 {
            from = self.text.ceil_char_boundary(from + 1);
        }
        if from - self.line_start <= 3 {
            from = self.line_start;
        }
        let before = if from > self.line_start { "..." } else { "" };
        let goes_on = !at_end && !matches!(self.byte(self.end), None | Some(b'\n' | b'\r'));
        let after = if goes_on { "..." } else { "" };
        error.context(format!("JSON data, line {}: {before}{}{after}", self.line, &self.text[from..self.end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> String {
        match check(text) {
            Ok(()) => "ok".into(),
            Err(e) => format!("{}\n{}", e.detail.as_deref().unwrap_or(""), e.where_.as_deref().unwrap_or("")),
        }
    }

    #[test]
    fn values() {
        for text in
            ["1", " [1, -2.5e+3, {\"a\": null}] ", "\"\\u00e9\\n\"", "{}", "[]", "\"\\ud800\"", "true"]
        {
            assert_eq!(answer(text), "ok", "{text}");
        }
        assert_eq!(answer(&"[".repeat(100_000)).lines().next(), Some("The input string ended unexpectedly."));
    }

    #[test]
    fn errors_as_recorded_from_postgresql() {
        for (text, expected) in [
            ("{\"a\":1", "The input string ended unexpectedly.\nJSON data, line 1: {\"a\":1"),
            ("", "The input string ended unexpectedly.\nJSON data, line 1: "),
            ("{a:1}", "Token \"a\" is invalid.\nJSON data, line 1: {a..."),
            ("[1,]", "Expected JSON value, but found \"]\".\nJSON data, line 1: [1,]"),
            ("{\"a\" 1}", "Expected \":\", but found \"1\".\nJSON data, line 1: {\"a\" 1..."),
            ("[1 2]", "Expected \",\" or \"]\", but found \"2\".\nJSON data, line 1: [1 2..."),
            ("\"abc", "Token \"\"abc\" is invalid.\nJSON data, line 1: \"abc"),
            ("\"\\x\"", "Escape sequence \"\\x\" is invalid.\nJSON data, line 1: \"\\x..."),
            (
                "\"\\u12\"",
                "\"\\u\" must be followed by four hexadecimal digits.\nJSON data, line 1: \"\\u12\"",
            ),
            ("1.", "Token \"1.\" is invalid.\nJSON data, line 1: 1."),
            ("01", "Token \"01\" is invalid.\nJSON data, line 1: 01"),
            ("-", "Token \"-\" is invalid.\nJSON data, line 1: -"),
            ("{\"a\":1,}", "Expected string, but found \"}\".\nJSON data, line 1: {\"a\":1,}"),
            ("{1:2}", "Expected string or \"}\", but found \"1\".\nJSON data, line 1: {1..."),
            ("\"a\nb\"", "Character with value 0x0a must be escaped.\nJSON data, line 1: \"a"),
            ("[1,\n2,\n foo]", "Token \"foo\" is invalid.\nJSON data, line 3:  foo..."),
            ("[,]", "Expected JSON value, but found \",\".\nJSON data, line 1: [,..."),
            ("1 2", "Expected end of input, but found \"2\".\nJSON data, line 1: 1 2"),
        ] {
            assert_eq!(answer(text), expected, "{text}");
        }
        let long = format!("\"{}\" foo bar", "a".repeat(90));
        let shown = format!("Token \"foo\" is invalid.\nJSON data, line 1: ...{}\" foo...", "a".repeat(44));
        assert_eq!(answer(&long), shown);
    }
}
