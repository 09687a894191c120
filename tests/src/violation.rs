//! What must not be.

use tokio_postgres::Error;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The data is not what was acknowledged.
    #[error("{0}")]
    Data(String),
    /// A statement failed that must not fail.
    #[error("{}", describe(.0))]
    Statement(#[from] Error),
}

fn describe(error: &Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{error} ({})", error.code().code()))
}
