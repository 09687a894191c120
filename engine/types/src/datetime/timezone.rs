//! Time zones by name, as the `TimeZone` setting and `AT TIME ZONE` take them.

/// A time zone: a name for SHOW, and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone {
    name: std::sync::Arc<str>,
    rules: jiff::tz::TimeZone,
}

impl TimeZone {
    /// UTC.
    pub fn utc() -> TimeZone {
        TimeZone { name: "UTC".into(), rules: jiff::tz::TimeZone::UTC }
    }

    /// The name as SHOW TimeZone answers it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
