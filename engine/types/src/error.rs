//! The error as a client sees it: PostgreSQL's ErrorResponse and NoticeResponse fields.
//!
//! Lower layers have error enums of their own; what reaches a client is a [`PgError`]. Messages follow
//! PostgreSQL's style: the primary message in lower case without a full stop, DETAIL and HINT as sentences.
//! The error is boxed, because it travels in the `Err` of functions that are called for every value.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::sqlstate::SqlState;

/// What every fallible function at the edge returns.
pub type PgResult<T> = Result<T, PgError>;

/// How serious a message is. `Error` and above end the statement; the rest are notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// DEBUG1 to DEBUG5, told apart no further.
    Debug,
    /// LOG: for the server's log.
    Log,
    /// INFO: asked for by the user, always sent.
    Info,
    /// NOTICE.
    Notice,
    /// WARNING.
    Warning,
    /// ERROR: ends the statement, fails the transaction.
    Error,
    /// FATAL: ends the session.
    Fatal,
    /// PANIC: ends all sessions.
    Panic,
}

impl Severity {
    /// The word in the protocol's S and V fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Debug => "DEBUG",
            Severity::Log => "LOG",
            Severity::Info => "INFO",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Panic => "PANIC",
        }
    }
}

/// What a lower layer knows of an error, for whoever can explain it to the client. It is no part of the error itself:
/// causes are all equal.
#[derive(Clone)]
pub struct Cause(Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cause")
    }
}

impl PartialEq for Cause {
    fn eq(&self, _: &Cause) -> bool {
        true
    }
}

impl Eq for Cause {}

/// The fields of an error; see the protocol's "Error and Notice Message Fields".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgErrorFields {
    /// Severity; `Error` unless said otherwise.
    pub severity: Severity,
    /// The code a program branches on.
    pub sqlstate: SqlState,
    /// The primary message.
    pub message: String,
    /// DETAIL: more about this occurrence.
    pub detail: Option<String>,
    /// HINT: what to do about it.
    pub hint: Option<String>,
    /// Where in the query text, counted in characters from 1.
    pub position: Option<u32>,
    /// CONTEXT: the stack of what was being done, one line each.
    pub where_: Option<String>,
    /// The schema of the object in question.
    pub schema: Option<String>,
    /// The table in question.
    pub table: Option<String>,
    /// The column in question.
    pub column: Option<String>,
    /// The data type in question.
    pub datatype: Option<String>,
    /// The constraint in question.
    pub constraint: Option<String>,
    /// For the layers above; not sent.
    pub cause: Option<Cause>,
}

/// An error (or notice) in PostgreSQL's terms. One pointer wide; its fields are reached through `Deref`.
#[derive(Clone, PartialEq, Eq)]
pub struct PgError(Box<PgErrorFields>);

impl PgError {
    /// An error with this code and primary message.
    #[cold]
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> PgError {
        PgError(Box::new(PgErrorFields {
            severity: Severity::Error,
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            where_: None,
            schema: None,
            table: None,
            column: None,
            datatype: None,
            constraint: None,
            cause: None,
        }))
    }

    /// A message of another severity: NOTICE, WARNING, FATAL, ...
    #[cold]
    pub fn with_severity(severity: Severity, sqlstate: SqlState, message: impl Into<String>) -> PgError {
        PgError::new(sqlstate, message).severity(severity)
    }

    /// 0A000: the statement is understood but not supported.
    #[cold]
    pub fn not_supported(message: impl Into<String>) -> PgError {
        PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// XX000: an invariant of ours does not hold. The statement fails, the server goes on.
    #[cold]
    pub fn internal(message: impl Into<String>) -> PgError {
        PgError::new(SqlState::INTERNAL_ERROR, message)
    }

    /// XX001: stored bytes are not what was written.
    #[cold]
    pub fn corrupted(message: impl Into<String>) -> PgError {
        PgError::new(SqlState::DATA_CORRUPTED, message)
    }

    /// Sets the severity.
    pub fn severity(mut self, severity: Severity) -> PgError {
        self.0.severity = severity;
        self
    }

    /// Sets DETAIL.
    pub fn detail(mut self, detail: impl Into<String>) -> PgError {
        self.0.detail = Some(detail.into());
        self
    }

    /// Sets HINT.
    pub fn hint(mut self, hint: impl Into<String>) -> PgError {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the position in the query text: characters, counted from 1.
    pub fn at(mut self, position: u32) -> PgError {
        self.0.position = Some(position);
        self
    }

    /// Sets the position unless one is set already: the innermost is the most exact.
    pub fn or_at(mut self, position: u32) -> PgError {
        self.0.position.get_or_insert(position);
        self
    }

    /// Sets the position from a byte offset into `query`.
    pub fn at_byte(self, query: &str, offset: usize) -> PgError {
        let chars = query.bytes().take(offset).filter(|b| !is_continuation_byte(*b)).count();
        self.at(u32::try_from(chars + 1).unwrap_or(u32::MAX))
    }

    /// Adds a line of CONTEXT; the innermost comes first.
    pub fn context(mut self, line: impl Into<String>) -> PgError {
        let line = line.into();
        self.0.where_ = Some(match self.0.where_.take() {
            Some(inner) => format!("{inner}\n{line}"),
            None => line,
        });
        self
    }

    /// Sets the schema field.
    pub fn schema(mut self, name: impl Into<String>) -> PgError {
        self.0.schema = Some(name.into());
        self
    }

    /// Sets the table field.
    pub fn table(mut self, name: impl Into<String>) -> PgError {
        self.0.table = Some(name.into());
        self
    }

    /// Sets the column field.
    pub fn column(mut self, name: impl Into<String>) -> PgError {
        self.0.column = Some(name.into());
        self
    }

    /// Sets the data type field.
    pub fn datatype(mut self, name: impl Into<String>) -> PgError {
        self.0.datatype = Some(name.into());
        self
    }

    /// Sets the constraint field.
    pub fn constraint(mut self, name: impl Into<String>) -> PgError {
        self.0.constraint = Some(name.into());
        self
    }

    /// Hands on what a lower layer knows of the error.
    pub fn caused_by(mut self, cause: impl Any + Send + Sync) -> PgError {
        self.0.cause = Some(Cause(Arc::new(cause)));
        self
    }

    /// What [`Self::caused_by`] handed on, if it is of this type.
    pub fn cause<T: Any>(&self) -> Option<&T> {
        self.0.cause.as_ref()?.0.downcast_ref()
    }

    /// The fields, to change in place.
    pub fn fields_mut(&mut self) -> &mut PgErrorFields {
        &mut self.0
    }
}

fn is_continuation_byte(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

impl std::ops::Deref for PgError {
    type Target = PgErrorFields;

    fn deref(&self) -> &PgErrorFields {
        &self.0
    }
}

impl fmt::Debug for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity.as_str(), self.message, self.sqlstate)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PgError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<PgError>(), 8);
        assert_eq!(size_of::<PgResult<()>>(), 8);
    }

    #[test]
    fn positions_count_characters() {
        let query = "select 'é', x";
        let offset = query.find('x').unwrap_or(0);
        let error = PgError::new(SqlState::UNDEFINED_COLUMN, "x").at_byte(query, offset);
        assert_eq!(error.position, Some(13));
        assert_eq!(error.or_at(1).position, Some(13));
    }

    #[test]
    fn context_lines_go_outwards() {
        let error = PgError::internal("x").context("inner").context("outer");
        assert_eq!(error.where_.as_deref(), Some("inner\nouter"));
    }
}
