//! What goes wrong while parsing, and how it is told.
//!
//! Inside the parser an error carries the byte offset where it was noticed. Only here, where it leaves, does that become
//! PostgreSQL's 1-based count of characters: counting is linear in the text, so it is done once, for an error.

use shardforge_types::{PgError, SqlState};

/// An error of lexer or grammar. Boxed, so that a parsing function's result stays small.
#[derive(Debug, Clone)]
pub(super) struct ParseError {
    pub(super) sqlstate: SqlState,
    pub(super) message: String,
    pub(super) detail: Option<&'static str>,
    pub(super) hint: Option<&'static str>,
    pub(super) pos: Option<u32>,
}

/// A parsing function's result.
pub(super) type PResult<T> = Result<T, Box<ParseError>>;

impl ParseError {
    /// An error of class 42601 at a byte offset.
    pub(super) fn syntax(message: impl Into<String>, pos: u32) -> Box<Self> {
        Self::new(SqlState::SYNTAX_ERROR, message, pos)
    }

    /// Any error at a byte offset.
    pub(super) fn new(sqlstate: SqlState, message: impl Into<String>, pos: u32) -> Box<Self> {
        Box::new(Self { sqlstate, message: message.into(), detail: None, hint: None, pos: Some(pos) })
    }

    /// Something PostgreSQL's grammar knows and refuses.
    pub(super) fn unsupported(message: impl Into<String>, pos: u32) -> Box<Self> {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message, pos)
    }

    /// `message at or near "text"`, where the text is that of the token; at its end, `message at end of input`.
    pub(super) fn near(message: &str, sql: &str, start: u32, end: u32) -> Box<Self> {
        match sql.get(start as usize..end as usize) {
            Some(text) if !text.is_empty() => Self::syntax(format!("{message} at or near \"{text}\""), start),
            _ => Self::syntax(format!("{message} at end of input"), start),
        }
    }

    pub(super) fn hint(mut self: Box<Self>, hint: &'static str) -> Box<Self> {
        self.hint = Some(hint);
        self
    }

    pub(super) fn detail(mut self: Box<Self>, detail: &'static str) -> Box<Self> {
        self.detail = Some(detail);
        self
    }

    pub(super) fn state(mut self: Box<Self>, sqlstate: SqlState) -> Box<Self> {
        self.sqlstate = sqlstate;
        self
    }

    /// The error as the client sees it.
    pub(super) fn into_pg(self, sql: &str) -> PgError {
        let mut error = PgError::new(self.sqlstate, self.message);
        if let Some(detail) = self.detail {
            error = error.detail(detail);
        }
        if let Some(hint) = self.hint {
            error = error.hint(hint);
        }
        match self.pos {
            Some(pos) => error.at(error_position(sql, pos)),
            None => error,
        }
    }
}

/// PostgreSQL's error position, 1-based and in characters, of a byte offset into the text.
pub fn error_position(sql: &str, pos: u32) -> u32 {
    let bytes = sql.as_bytes();
    let upto = &bytes[..(pos as usize).min(bytes.len())];
    let continuation = upto.iter().filter(|b| (**b & 0xC0) == 0x80).count();
    (upto.len() - continuation) as u32 + 1
}
