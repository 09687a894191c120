//! Values of settings: checking what SET gives, and the form that SHOW prints.

use shardforge_types::datetime::TimeZone;
use shardforge_types::{PgError, PgResult, SqlState};

use super::settings::split_identifiers;
use crate::catalog::builtin::{SettingDesc, SettingType};

/// Checks a value and brings it to SHOW's form.
///
/// # Errors
/// 22023, worded as PostgreSQL does.
pub fn normalise(desc: &SettingDesc, value: &str) -> PgResult<String> {
    match desc.vartype {
        SettingType::Bool => match parse_bool(value) {
            Some(true) => Ok("on".to_owned()),
            Some(false) => Ok("off".to_owned()),
            None => Err(PgError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", desc.name),
            )),
        },
        SettingType::Integer => integer(desc, value),
        SettingType::Real => real(desc, value),
        SettingType::Enum => enumeration(desc, value),
        SettingType::String => string(desc, value),
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    let lower = value.trim().to_ascii_lowercase();
    if lower.is_empty() {
        return None;
    }
    for (word, shortest, meaning) in [
        ("true", 1, true),
        ("false", 1, false),
        ("yes", 1, true),
        ("no", 1, false),
        ("on", 2, true),
        ("off", 2, false),
    ] {
        if lower.len() >= shortest && word.starts_with(&*lower) {
            return Some(meaning);
        }
    }
    match &*lower {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

fn invalid(desc: &SettingDesc, value: &str) -> PgError {
    PgError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", desc.name),
    )
}

/// Units with their size in the base unit (bytes, or microseconds).
const MEMORY: &[(&str, f64)] =
    &[("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1_024.0), ("B", 1.0)];
const TIME: &[(&str, f64)] = &[
    ("d", 86_400_000_000.0),
    ("h", 3_600_000_000.0),
    ("min", 60_000_000.0),
    ("s", 1_000_000.0),
    ("ms", 1_000.0),
    ("us", 1.0),
];

/// The units that a setting's own unit belongs to, and the size of that unit.
fn unit_family(unit: &str) -> Option<(&'static [(&'static str, f64)], f64)> {
    let (count, name) = match unit.find(|c: char| !c.is_ascii_digit()) {
        Some(0) => (1.0, unit),
        Some(at) => (unit[..at].parse().ok()?, &unit[at..]),
        None => return None,
    };
    [MEMORY, TIME]
        .into_iter()
        .find_map(|family| family.iter().find(|(n, _)| *n == name).map(|(_, size)| (family, size * count)))
}

/// A number with an optional unit, in the setting's own unit.
fn parse_number(value: &str, unit: Option<&str>) -> Option<f64> {
    let value = value.trim();
    let split = value
        .char_indices()
        .find(|(i, c)| {
            let exponent = matches!(c, 'e' | 'E')
                && value[i + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
            let hex = matches!(c, 'x' | 'X') && *i == 1;
            !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+') || exponent || hex)
        })
        .map_or(value.len(), |(i, _)| i);
    let (number, suffix) = (value[..split].trim(), value[split..].trim());
    let number = match number.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok()? as f64,
        None => number.parse::<f64>().ok()?,
    };
    if suffix.is_empty() {
        return Some(number);
    }
    let (family, own) = unit_family(unit?)?;
    let (_, size) = family.iter().find(|(name, _)| *name == suffix)?;
    Some(number * size / own)
}

/// An integer with an optional unit, in the given unit.
pub fn parse_integer_with_unit(value: &str, unit: Option<&str>) -> Option<i64> {
    parse_number(value, unit).map(|number| number.round_ties_even() as i64)
}

fn unit_hint(unit: Option<&str>) -> Option<&'static str> {
    let (family, _) = unit_family(unit?)?;
    Some(if std::ptr::eq(family, MEMORY) {
        "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\"."
    } else {
        "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."
    })
}

fn integer(desc: &SettingDesc, value: &str) -> PgResult<String> {
    let Some(number) = parse_integer_with_unit(value, desc.unit) else {
        let error = invalid(desc, value);
        return Err(match unit_hint(desc.unit) {
            Some(hint) if value.trim_start().starts_with(|c: char| c.is_ascii_digit()) => error.hint(hint),
            _ => error,
        });
    };
    if i32::try_from(number).is_err() {
        return Err(invalid(desc, value).hint("Value exceeds integer range."));
    }
    if let Some((min, max)) = desc.integer_range()
        && !(min..=max).contains(&number)
    {
        let unit = desc.unit.map_or_else(String::new, |unit| format!(" {unit}"));
        return Err(PgError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "{number}{unit} is outside the valid range for parameter \"{}\" ({min}{unit} .. {max}{unit})",
                desc.name
            ),
        ));
    }
    Ok(with_unit(number, desc.unit))
}

/// The largest unit in which the number is whole, as SHOW prints it.
fn with_unit(number: i64, unit: Option<&str>) -> String {
    if number <= 0 {
        return number.to_string();
    }
    let Some((family, own)) = unit.and_then(unit_family) else { return number.to_string() };
    let total = number as f64 * own;
    for (name, size) in family {
        if total >= *size && total % size == 0.0 {
            return format!("{}{name}", total / size);
        }
    }
    number.to_string()
}

fn real(desc: &SettingDesc, value: &str) -> PgResult<String> {
    let Some(number) = parse_number(value, desc.unit) else { return Err(invalid(desc, value)) };
    let bound = |text: Option<&str>| text.and_then(|t| t.parse::<f64>().ok());
    if let (Some(min), Some(max)) = (bound(desc.min), bound(desc.max))
        && !(min..=max).contains(&number)
    {
        return Err(PgError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("{number} is outside the valid range for parameter \"{}\" ({min} .. {max})", desc.name),
        ));
    }
    let unit = if number > 0.0 { desc.unit.unwrap_or("") } else { "" };
    Ok(format!("{number}{unit}"))
}

fn enumeration(desc: &SettingDesc, value: &str) -> PgResult<String> {
    if let Some(found) = desc.enumvals.iter().find(|v| v.eq_ignore_ascii_case(value)) {
        return Ok(found.clone());
    }
    // Settings that are on, off or something in between also take Boolean words.
    if let Some(flag) = parse_bool(value) {
        let word = if flag { "on" } else { "off" };
        if desc.enumvals.iter().any(|v| v == word) {
            return Ok(word.to_owned());
        }
    }
    let known = desc.enumvals.join(", ");
    Err(invalid(desc, value).hint(format!("Available values: {known}.")))
}

fn string(desc: &SettingDesc, value: &str) -> PgResult<String> {
    match desc.name {
        "TimeZone" => match TimeZone::from_setting(value) {
            Some(zone) => Ok(zone.name().to_owned()),
            None => Err(invalid(desc, value)),
        },
        "DateStyle" => date_style(desc, value),
        "search_path" => match split_identifiers(value) {
            Some(_) => Ok(value.to_owned()),
            None => Err(invalid(desc, value).detail("List syntax is invalid.")),
        },
        "client_encoding" => match value.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" => Ok("UTF8".to_owned()),
            "sqlascii" => Ok("SQL_ASCII".to_owned()),
            name if !is_encoding(name) => Err(invalid(desc, value)),
            _ => Err(PgError::not_supported(format!("client encoding \"{value}\" is not supported"))
                .hint("Use UTF8.")),
        },
        "application_name" => {
            let shown = |byte: u8| match byte {
                b' '..=b'~' => char::from(byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            };
            Ok(value.bytes().map(shown).collect::<String>().chars().take(63).collect())
        }
        _ => Ok(value.to_owned()),
    }
}

fn date_style(desc: &SettingDesc, value: &str) -> PgResult<String> {
    let (mut style, mut order) = ("ISO", "MDY");
    for word in value.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "iso" => style = "ISO",
            "sql" => style = "SQL",
            w if w.starts_with("postgres") => style = "Postgres",
            "german" => {
                style = "German";
                order = "DMY";
            }
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "dmy" | "euro" | "european" => order = "DMY",
            "ymd" => order = "YMD",
            "default" => (style, order) = ("ISO", "MDY"),
            other => {
                return Err(invalid(desc, value).detail(format!("Unrecognized key word: \"{other}\".")));
            }
        }
    }
    Ok(format!("{style}, {order}"))
}

/// Whether PostgreSQL knows an encoding by this name, in lower case and without separators.
fn is_encoding(name: &str) -> bool {
    const OTHERS: [&str; 22] = [
        "eucjp",
        "euccn",
        "euckr",
        "euctw",
        "eucjis2004",
        "koi8r",
        "koi8",
        "koi8u",
        "alt",
        "win",
        "abc",
        "tcvn",
        "tcvn5712",
        "vscii",
        "sjis",
        "mskanji",
        "shiftjis",
        "shiftjis2004",
        "big5",
        "gbk",
        "gb18030",
        "uhc",
    ];
    let numbered = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    OTHERS.contains(&name)
        || name == "johab"
        || ["latin", "iso8859", "win", "windows"].into_iter().any(numbered)
}
