//! pg_settings, and the time zones that a session may set.

use std::sync::Arc;

use shardforge_types::{Datum, Interval};

use super::rows::text_array;
use super::{Producer, Rows, SystemScan};
use crate::catalog::builtin::{SettingDesc, settings};

pub(super) const PRODUCERS: &[(&str, Producer)] =
    &[("pg_settings", pg_settings), ("pg_timezone_names", pg_timezone_names)];

fn pg_settings(scan: &SystemScan<'_>, rows: &mut Rows) {
    for setting in settings().iter().filter(|s| scan.may_be_name("name", s.name)) {
        built_in_setting(scan, setting, rows);
    }
    for (name, value) in scan.session.custom_settings() {
        rows.push(|r| {
            r.set("name", name.as_str()).set("setting", value.as_str()).set("category", "Customized Options");
            r.set("context", "user").set("vartype", "string").set("source", "session");
            r.set("reset_val", value.as_str()).set("pending_restart", false);
        });
    }
}

fn built_in_setting(scan: &SystemScan<'_>, setting: &SettingDesc, rows: &mut Rows) {
    let default = setting.boot_val.as_deref();
    let unshown = |value: String| setting.unit.and_then(|unit| in_unit(&value, unit)).unwrap_or(value);
    let value = scan.session.setting(setting.name).map(unshown);
    let reset = scan.session.reset_value(setting.name).map(unshown);
    rows.push(|r| {
        r.set("name", setting.name).set("setting", value.as_deref().or(default)).set("unit", setting.unit);
        r.set("category", &*setting.category).set("short_desc", &*setting.short_desc);
        r.set("extra_desc", setting.extra_desc.as_deref()).set("context", setting.context.name());
        r.set("vartype", setting.vartype.name()).set("min_val", setting.min).set("max_val", setting.max);
        r.set("source", if value.is_none() || value.as_deref() == default { "default" } else { "session" });
        r.set_with("enumvals", || {
            (!setting.enumvals.is_empty()).then(|| text_array(setting.enumvals.iter().map(String::as_str)))
        });
        r.set("boot_val", default)
            .set("reset_val", reset.as_deref().or(default))
            .set("pending_restart", false);
    });
}

/// A value that SHOW prints with a unit (`64MB`) as a number of the setting's own unit (`8kB`); `None` if it has none.
fn in_unit(shown: &str, unit: &str) -> Option<String> {
    let digits = shown.find(|c: char| !c.is_ascii_digit() && c != '-' && c != '.')?;
    let number: f64 = shown[..digits].parse().ok()?;
    let (shown_size, unit_size) = (unit_size(&shown[digits..])?, unit_size(unit)?);
    Some((number * shown_size / unit_size).to_string())
}

/// Bytes or milliseconds of a unit, which may have a count before it.
fn unit_size(unit: &str) -> Option<f64> {
    let digits = unit.find(|c: char| !c.is_ascii_digit())?;
    let count: f64 = if digits == 0 { 1.0 } else { unit[..digits].parse().ok()? };
    let size = match &unit[digits..] {
        "B" => 1.0,
        "kB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        "TB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    Some(count * size)
}

fn pg_timezone_names(scan: &SystemScan<'_>, rows: &mut Rows) {
    /// 2000-01-01 00:00 UTC in seconds since 1970.
    const EPOCH_SECS: i64 = 946_684_800;
    let seconds = EPOCH_SECS.saturating_add(scan.session.now().div_euclid(1_000_000));
    let now = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let database = jiff::tz::db();
    for name in database.available().filter(|name| scan.may_be_name("name", name.as_str())) {
        let Ok(zone) = database.get(name.as_str()) else { continue };
        let info = zone.to_offset_info(now);
        rows.push(|r| {
            let micros = i64::from(info.offset().seconds()) * 1_000_000;
            r.set("name", name.as_str()).set("abbrev", info.abbreviation());
            r.set("utc_offset", Datum::Interval(Arc::new(Interval { micros, ..Interval::default() })));
            r.set("is_dst", info.dst().is_dst());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::in_unit;

    #[test]
    fn units() {
        assert_eq!(in_unit("64MB", "8kB").as_deref(), Some("8192"));
        assert_eq!(in_unit("5min", "s").as_deref(), Some("300"));
        assert_eq!(in_unit("0.1ms", "ms").as_deref(), Some("0.1"));
        assert_eq!(in_unit("-1", "ms"), None);
    }
}
