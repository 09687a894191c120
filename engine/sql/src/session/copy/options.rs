//! COPY's options.

use shardforge_types::{PgError, PgResult, SqlState};

use crate::parse::ast::{DefArg, DefElem};

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// One line a row, escaped with backslashes.
    Text,
    /// Comma-separated values.
    Csv,
    /// The binary wire forms.
    Binary,
}

/// HEADER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// No header line.
    None,
    /// A header line, written or skipped.
    Line,
    /// A header line that must name the columns.
    Match,
}

/// What COPY was asked for.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// FORMAT.
    pub format: CopyFormat,
    /// DELIMITER.
    pub delimiter: u8,
    /// NULL.
    pub null: String,
    /// HEADER.
    pub header: Header,
    /// QUOTE.
    pub quote: u8,
    /// ESCAPE.
    pub escape: u8,
    /// FORCE_QUOTE: `Some(empty)` is `*`.
    pub force_quote: Option<Vec<String>>,
    /// FORCE_NOT_NULL: `Some(empty)` is `*`.
    pub force_not_null: Option<Vec<String>>,
    /// FORCE_NULL: `Some(empty)` is `*`.
    pub force_null: Option<Vec<String>>,
}

fn invalid(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn text(option: &DefElem) -> PgResult<String> {
    match &option.arg {
        Some(DefArg::String(text)) => Ok(text.to_string()),
        Some(DefArg::Type(ty)) => Ok(ty.names.last().map(ToString::to_string).unwrap_or_default()),
        Some(DefArg::Names(names)) => Ok(names.join(".")),
        Some(DefArg::Integer(number)) => Ok(number.to_string()),
        Some(DefArg::Boolean(flag)) => Ok(flag.to_string()),
        _ => Err(PgError::new(SqlState::SYNTAX_ERROR, format!("{} requires a parameter", option.name))),
    }
}

fn columns(option: &DefElem) -> PgResult<Vec<String>> {
    match &option.arg {
        Some(DefArg::Star) => Ok(Vec::new()),
        Some(DefArg::List(list)) => Ok(list
            .iter()
            .filter_map(|arg| match arg {
                DefArg::String(name) => Some(name.to_string()),
                DefArg::Names(names) => names.last().map(ToString::to_string),
                DefArg::Type(ty) => ty.names.last().map(ToString::to_string),
                _ => None,
            })
            .collect()),
        _ => Err(invalid(format!("argument to option \"{}\" must be a list of column names", option.name))),
    }
}

impl CopyOptions {
    /// Reads the options and checks them against each other.
    ///
    /// # Errors
    /// 42601, 22023, 0A000 as PostgreSQL.
    pub fn parse(list: &[DefElem], is_from: bool) -> PgResult<CopyOptions> {
        let mut seen: Vec<&str> = Vec::new();
        let mut format = CopyFormat::Text;
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        let mut header = Header::None;
        let (mut force_quote, mut force_not_null, mut force_null) = (None, None, None);
        for option in list {
            if seen.contains(&&*option.name) {
                return Err(
                    PgError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(option.pos)
                );
            }
            seen.push(&option.name);
            match &*option.name {
                "format" => {
                    format = match text(option)?.as_str() {
                        "text" => CopyFormat::Text,
                        "csv" => CopyFormat::Csv,
                        "binary" => CopyFormat::Binary,
                        other => {
                            return Err(
                                invalid(format!("COPY format \"{other}\" not recognized")).at(option.pos)
                            );
                        }
                    };
                }
                "delimiter" => delimiter = Some(text(option)?),
                "null" => null = Some(text(option)?),
                "quote" => quote = Some(text(option)?),
                "escape" => escape = Some(text(option)?),
                "header" => {
                    header = match &option.arg {
                        None => Header::Line,
                        Some(_) => match text(option)?.to_ascii_lowercase().as_str() {
                            "true" | "on" | "1" => Header::Line,
                            "false" | "off" | "0" => Header::None,
                            "match" if is_from => Header::Match,
                            "match" => {
                                return Err(invalid("cannot use \"match\" with HEADER in COPY TO"));
                            }
                            _ => {
                                return Err(PgError::new(
                                    SqlState::SYNTAX_ERROR,
                                    "header requires a Boolean value or \"match\"",
                                ));
                            }
                        },
                    };
                }
                "force_quote" => force_quote = Some(columns(option)?),
                "force_not_null" => force_not_null = Some(columns(option)?),
                "force_null" => force_null = Some(columns(option)?),
                "freeze" => {}
                "encoding" => {
                    let name = text(option)?;
                    if !matches!(
                        name.to_ascii_lowercase().replace(['-', '_'], "").as_str(),
                        "utf8" | "unicode" | "sqlascii"
                    ) {
                        return Err(PgError::not_supported(format!(
                            "COPY encoding \"{name}\" is not supported yet"
                        ))
                        .hint("Use UTF8."));
                    }
                }
                "on_error" | "reject_limit" | "log_verbosity" | "default" => {
                    return Err(PgError::not_supported(format!(
                        "COPY option \"{}\" is not supported yet",
                        option.name
                    ))
                    .hint("Leave it out."));
                }
                other => {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("option \"{other}\" not recognized"),
                    )
                    .at(option.pos));
                }
            }
        }
        if format == CopyFormat::Binary {
            for (given, what) in [(delimiter.is_some(), "DELIMITER"), (null.is_some(), "NULL")] {
                if given {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("cannot specify {what} in BINARY mode"),
                    ));
                }
            }
            if header != Header::None {
                return Err(PgError::not_supported("cannot specify HEADER in BINARY mode"));
            }
        }
        let csv = format == CopyFormat::Csv;
        let csv_only = [
            (quote.is_some(), "QUOTE"),
            (escape.is_some(), "ESCAPE"),
            (force_quote.is_some(), "FORCE_QUOTE"),
            (force_not_null.is_some(), "FORCE_NOT_NULL"),
            (force_null.is_some(), "FORCE_NULL"),
        ];
        for (given, what) in csv_only {
            if given && !csv {
                return Err(PgError::not_supported(format!("COPY {what} requires CSV mode")));
            }
        }
        if force_quote.is_some() && is_from {
            return Err(PgError::not_supported("COPY FORCE_QUOTE cannot be used with COPY FROM"));
        }
        for (given, what) in
            [(force_not_null.is_some(), "FORCE_NOT_NULL"), (force_null.is_some(), "FORCE_NULL")]
        {
            if given && !is_from {
                return Err(PgError::not_supported(format!("COPY {what} cannot be used with COPY TO")));
            }
        }
        let delimiter = single(
            delimiter,
            if csv { b',' } else { b'\t' },
            "COPY delimiter must be a single one-byte character",
        )?;
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        if !csv
            && format == CopyFormat::Text
            && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter)
        {
            return Err(invalid(format!("COPY delimiter cannot be \"{}\"", delimiter as char)));
        }
        let null = null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
        if null.contains(['\n', '\r']) {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        let quote = single(quote, b'"', "COPY quote must be a single one-byte character")?;
        let escape = single(escape, quote, "COPY escape must be a single one-byte character")?;
        if csv && delimiter == quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if null.as_bytes().contains(&delimiter) {
            return Err(invalid("COPY delimiter character must not appear in the NULL specification"));
        }
        if csv && null.as_bytes().contains(&quote) {
            return Err(invalid("CSV quote character must not appear in the NULL specification"));
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote,
            force_not_null,
            force_null,
        })
    }

    /// Which of the result's columns are always quoted.
    ///
    /// # Errors
    /// 42703 for a name that is not among them.
    pub fn force_quote_columns(&self, names: &[&str]) -> PgResult<Vec<bool>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Self::flags(&self.force_quote, &names)
    }

    /// One flag a column: whether a list of columns (`Some(empty)`: all) has it.
    ///
    /// # Errors
    /// 42703 for a name that is not among them.
    pub fn flags(list: &Option<Vec<String>>, names: &[String]) -> PgResult<Vec<bool>> {
        let Some(list) = list else { return Ok(vec![false; names.len()]) };
        if list.is_empty() {
            return Ok(vec![true; names.len()]);
        }
        if let Some(missing) = list.iter().find(|name| !names.contains(name)) {
            return Err(PgError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{missing}\" does not exist"),
            ));
        }
        Ok(names.iter().map(|name| list.contains(name)).collect())
    }
}

fn single(value: Option<String>, default: u8, message: &str) -> PgResult<u8> {
    match value {
        None => Ok(default),
        Some(value) => match value.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)),
        },
    }
}
