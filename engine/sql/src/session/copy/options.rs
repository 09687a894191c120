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

/// ON_ERROR: what a value that is no value of its column's type does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It ends the command.
    Stop,
    /// Its row is left out.
    Ignore,
}

/// LOG_VERBOSITY: what is said of rows that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogVerbosity {
    /// Nothing.
    Silent,
    /// How many there were.
    Default,
    /// Each of them.
    Verbose,
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
    /// DEFAULT: what stands for a column's default.
    pub default: Option<String>,
    /// ON_ERROR.
    pub on_error: OnError,
    /// REJECT_LIMIT: how many rows may be left out.
    pub reject_limit: Option<u64>,
    /// LOG_VERBOSITY.
    pub log_verbosity: LogVerbosity,
}

fn invalid(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unknown_word(option: &DefElem, word: &str) -> PgError {
    let name = option.name.to_uppercase();
    invalid(format!("COPY {name} \"{word}\" not recognized")).at(option.pos)
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
        let (mut default, mut on_error, mut reject_limit) = (None, None, None);
        let mut log_verbosity = LogVerbosity::Default;
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
                                return Err(PgError::not_supported(
                                    "cannot use \"match\" with HEADER in COPY TO",
                                ));
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
                "default" => default = Some(text(option)?),
                "on_error" => {
                    if !is_from {
                        return Err(invalid("COPY ON_ERROR cannot be used with COPY TO").at(option.pos));
                    }
                    let word = text(option)?;
                    on_error = Some(match word.to_ascii_lowercase().as_str() {
                        "stop" => OnError::Stop,
                        "ignore" => OnError::Ignore,
                        _ => return Err(unknown_word(option, &word)),
                    });
                }
                "log_verbosity" => {
                    let word = text(option)?;
                    log_verbosity = match word.to_ascii_lowercase().as_str() {
                        "silent" => LogVerbosity::Silent,
                        "default" => LogVerbosity::Default,
                        "verbose" => LogVerbosity::Verbose,
                        _ => return Err(unknown_word(option, &word)),
                    };
                }
                "reject_limit" => reject_limit = Some(row_limit(option)?),
                other => {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("option \"{other}\" not recognized"),
                    )
                    .at(option.pos));
                }
            }
        }
        let options = CopyOptions {
            format,
            delimiter: 0,
            null: null.clone().unwrap_or_else(|| match format {
                CopyFormat::Csv => String::new(),
                _ => "\\N".to_owned(),
            }),
            header,
            quote: b'"',
            escape: b'"',
            force_quote,
            force_not_null,
            force_null,
            default,
            on_error: on_error.unwrap_or(OnError::Stop),
            reject_limit,
            log_verbosity,
        };
        if format == CopyFormat::Binary {
            let given = [
                (delimiter.is_some(), "DELIMITER"),
                (null.is_some(), "NULL"),
                (options.default.is_some(), "DEFAULT"),
            ];
            if let Some((_, what)) = given.iter().find(|(given, _)| *given) {
                let message = format!("cannot specify {what} in BINARY mode");
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
            }
        }
        options.checked(delimiter, quote, escape, is_from)
    }

    /// Sets the characters that separate and quote, and checks everything against them, in PostgreSQL's order.
    fn checked(
        mut self,
        delimiter: Option<String>,
        quote: Option<String>,
        escape: Option<String>,
        is_from: bool,
    ) -> PgResult<CopyOptions> {
        let csv = self.format == CopyFormat::Csv;
        self.delimiter = single(delimiter, if csv { b',' } else { b'\t' }, "delimiter")?;
        if matches!(self.delimiter, b'\n' | b'\r') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        for (marker, what) in [(Some(&self.null), "null"), (self.default.as_ref(), "default")] {
            if marker.is_some_and(|marker| marker.contains(['\n', '\r'])) {
                let message = format!("COPY {what} representation cannot use newline or carriage return");
                return Err(invalid(message));
            }
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&self.delimiter) {
            return Err(invalid(format!("COPY delimiter cannot be \"{}\"", self.delimiter as char)));
        }
        if self.format == CopyFormat::Binary && self.header != Header::None {
            return Err(PgError::not_supported("cannot specify HEADER in BINARY mode"));
        }
        let csv_only = |given: bool, what: &str| match given && !csv {
            true => Err(PgError::not_supported(format!("COPY {what} requires CSV mode"))),
            false => Ok(()),
        };
        csv_only(quote.is_some(), "QUOTE")?;
        self.quote = single(quote, b'"', "quote")?;
        if csv && self.delimiter == self.quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        csv_only(escape.is_some(), "ESCAPE")?;
        self.escape = single(escape, self.quote, "escape")?;
        let forced = [
            (self.force_quote.is_some(), "FORCE_QUOTE", false),
            (self.force_not_null.is_some(), "FORCE_NOT_NULL", true),
            (self.force_null.is_some(), "FORCE_NULL", true),
        ];
        for (given, what, of_from) in forced {
            csv_only(given, what)?;
            if given && of_from != is_from {
                return Err(match is_from {
                    true => PgError::not_supported(format!("COPY {what} cannot be used with COPY FROM")),
                    false => invalid(format!("COPY {what} cannot be used with COPY TO")),
                });
            }
        }
        self.check_marker(&self.null, "NULL").map_err(invalid)?;
        if let Some(default) = &self.default {
            if !is_from {
                return Err(PgError::not_supported("COPY DEFAULT cannot be used with COPY TO"));
            }
            self.check_marker(default, "DEFAULT").map_err(PgError::not_supported)?;
            if *default == self.null {
                let message = "NULL specification and DEFAULT specification cannot be the same";
                return Err(PgError::not_supported(message));
            }
        }
        if self.format == CopyFormat::Binary && self.on_error != OnError::Stop {
            let message = "only ON_ERROR STOP is allowed in BINARY mode";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
        }
        if self.reject_limit.is_some() && self.on_error != OnError::Ignore {
            return Err(invalid("COPY REJECT_LIMIT requires ON_ERROR to be set to IGNORE"));
        }
        Ok(self)
    }

    /// A marker must not hold what separates or quotes.
    fn check_marker(&self, marker: &str, what: &str) -> Result<(), String> {
        if marker.as_bytes().contains(&self.delimiter) {
            return Err(format!("COPY delimiter character must not appear in the {what} specification"));
        }
        if self.format == CopyFormat::Csv && marker.as_bytes().contains(&self.quote) {
            return Err(format!("CSV quote character must not appear in the {what} specification"));
        }
        Ok(())
    }

    /// One flag a column of the data: whether the list of an option (`Some(empty)`: all) has it.
    ///
    /// # Errors
    /// 42703 for a name that no column has, 42P10 for one that is not among those of the data.
    pub fn flags<N: AsRef<str>>(
        list: &Option<Vec<String>>,
        option: &str,
        names: &[N],
        is_column: &dyn Fn(&str) -> bool,
    ) -> PgResult<Vec<bool>> {
        let Some(list) = list else { return Ok(vec![false; names.len()]) };
        if list.is_empty() {
            return Ok(vec![true; names.len()]);
        }
        for listed in list {
            if names.iter().any(|name| name.as_ref() == listed) {
                continue;
            }
            if is_column(listed) {
                let message = format!("{option} column \"{listed}\" not referenced by COPY");
                return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
            }
            let message = format!("column \"{listed}\" does not exist");
            return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message));
        }
        Ok(names.iter().map(|name| list.iter().any(|listed| listed == name.as_ref())).collect())
    }
}

fn single(value: Option<String>, default: u8, what: &str) -> PgResult<u8> {
    match value {
        None => Ok(default),
        Some(value) => match value.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(PgError::not_supported(format!("COPY {what} must be a single one-byte character"))),
        },
    }
}

fn row_limit(option: &DefElem) -> PgResult<u64> {
    let limit = match &option.arg {
        Some(DefArg::Integer(number)) => i64::from(*number),
        Some(DefArg::Float(text) | DefArg::String(text)) => {
            text.parse::<i64>().map_err(|_| invalid_integer(text))?
        }
        _ => {
            let message = format!("{} requires a numeric value", option.name);
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
        }
    };
    match u64::try_from(limit) {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err(invalid(format!("REJECT_LIMIT ({limit}) must be greater than zero"))),
    }
}

fn invalid_integer(text: &str) -> PgError {
    let message = format!("invalid input syntax for type bigint: \"{text}\"");
    PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}
