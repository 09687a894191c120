//! From text to value. Sizes and times are written as in PostgreSQL: `64MB`, `1GB`, `500ms`, `10s`, `2min`.

use std::time::Duration;

use super::EngineKind;

/// What is wrong with a value, in words that follow "invalid value ...: ".
pub type Parsed<T> = Result<T, String>;

/// A switch.
pub fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A whole number within bounds.
pub fn count(min: usize, max: usize) -> impl Fn(&str) -> Parsed<usize> {
    move |text| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {min} to {max}")),
    }
}

/// A number of bytes.
pub fn size(text: &str) -> Parsed<usize> {
    let problem = || "expected a size such as 64MB (units: kB, MB, GB, TB)".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(problem)?;
    let shift = match unit {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return Err(problem()),
    };
    number.checked_mul(1 << shift).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(problem)
}

/// A length of time.
pub fn duration(text: &str) -> Parsed<Duration> {
    let problem = || "expected a time such as 10s (units: ms, s, min, h)".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(problem)?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(problem()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(problem)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// An address `HOST:PORT`; whether the host exists is found out when it is used.
pub fn address(text: &str) -> Parsed<String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:5432".to_owned()),
    }
}

/// A storage engine.
pub fn engine(text: &str) -> Parsed<EngineKind> {
    match text {
        "rocksdb" => Ok(EngineKind::RocksDb),
        "memory" => Ok(EngineKind::Memory),
        _ => Err("expected rocksdb or memory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_as_in_postgresql() {
        assert_eq!(size("64MB"), Ok(64 << 20));
        assert_eq!(size("64 kB"), Ok(64 << 10));
        assert_eq!(size("17"), Ok(17));
        assert!(size("64mb").is_err() && size("MB").is_err() && size("99999999999TB").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert!(duration("-1s").is_err() && duration("1 week").is_err());
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:5432").is_ok());
        assert!(address("5432").is_err() && address(":5432").is_err() && address("localhost:http").is_err());
    }
}
