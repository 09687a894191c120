//! The session's settings (GUCs): SET, SHOW, RESET, and what they mean to the session.
//!
//! Values are kept as SHOW prints them. A change is undone when its transaction aborts, and SET LOCAL when it
//! ends: an undo log remembers what each change replaced, and savepoints mark positions in it.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::{IsolationLevel, WaitLimits};
use shardforge_types::datetime::TimeZone;
use shardforge_types::{
    ByteaOutput, DateOrder, DateStyle, IntervalStyle, IoEnv, PgError, PgResult, Severity, SqlState,
};

use super::setting_value::normalise;
use crate::catalog::Buckets;
use crate::catalog::builtin::{SettingContext, SettingDesc, setting, settings};
use crate::exec::env::Settings;

/// A position in the undo log.
pub type SettingsMark = usize;

/// The settings of a session.
pub struct SessionSettings {
    inner: Mutex<Inner>,
    superuser: bool,
}

#[derive(Default)]
struct Inner {
    values: HashMap<Arc<str>, Value>,
    /// What each change of this transaction replaced.
    undo: Vec<(Arc<str>, Option<Value>)>,
    /// Reported settings that changed since they were last told.
    changed: Vec<Arc<str>>,
    parsed: Parsed,
    /// Grows with every change that plans depend on.
    version: u64,
}

#[derive(Clone, Debug)]
struct Value {
    /// For the session.
    session: String,
    /// SET LOCAL's, until the transaction ends.
    local: Option<String>,
    /// What RESET goes back to.
    reset: String,
}

/// Settings that the session itself looks at, in their own types.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// For text forms.
    pub io: IoEnv,
    /// Names of `search_path`.
    pub search_path: Arc<[String]>,
    /// `statement_timeout`.
    pub statement_timeout: Option<Duration>,
    /// `lock_timeout`.
    pub lock_timeout: Option<Duration>,
    /// `transaction_timeout`.
    pub transaction_timeout: Option<Duration>,
    /// `deadlock_timeout`.
    pub deadlock_timeout: Duration,
    /// `idle_in_transaction_session_timeout`.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// `idle_session_timeout`.
    pub idle_session_timeout: Option<Duration>,
    /// `default_transaction_isolation`.
    pub default_isolation: IsolationLevel,
    /// `default_transaction_read_only`.
    pub default_read_only: bool,
    /// `client_min_messages`.
    pub client_min_messages: Severity,
    /// `default_buckets`.
    pub default_buckets: Buckets,
}

impl Default for Parsed {
    fn default() -> Self {
        Parsed {
            io: IoEnv::default(),
            search_path: Arc::new(["$user".to_owned(), "public".to_owned()]),
            statement_timeout: None,
            lock_timeout: None,
            transaction_timeout: None,
            deadlock_timeout: WaitLimits::NONE.deadlock,
            idle_in_transaction_timeout: None,
            idle_session_timeout: None,
            default_isolation: IsolationLevel::ReadCommitted,
            default_read_only: false,
            client_min_messages: Severity::Notice,
            default_buckets: Buckets::ONE,
        }
    }
}

/// Settings that clients are told of whenever they change.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

impl SessionSettings {
    /// Fresh settings, with values of this server and connection in place of PostgreSQL's defaults.
    pub fn new(overrides: &[(&str, String)], superuser: bool) -> SessionSettings {
        let mut inner = Inner::default();
        for (name, value) in overrides {
            let name: Arc<str> = canonical_name(name).into();
            let value = Value { session: value.clone(), local: None, reset: value.clone() };
            inner.values.insert(name, value);
        }
        let names: Vec<Arc<str>> = inner.values.keys().cloned().collect();
        for name in names {
            inner.reparse(&name);
        }
        SessionSettings { inner: Mutex::new(inner), superuser }
    }

    /// A setting of the startup packet: becomes the value that RESET goes back to.
    ///
    /// # Errors
    /// As for SET.
    pub fn set_at_start(&self, name: &str, value: &str) -> PgResult<()> {
        let (name, value) = self.checked(name, value, true)?;
        let mut inner = self.inner.lock();
        let value = Value { session: value.clone(), local: None, reset: value };
        inner.values.insert(name.clone(), value);
        inner.reparse(&name);
        Ok(())
    }

    /// SET, or SET LOCAL.
    ///
    /// # Errors
    /// 42704, 22023, 55P02, 42501.
    pub fn assign(&self, name: &str, value: &str, local: bool) -> PgResult<String> {
        let (name, value) = self.checked(name, value, false)?;
        let mut inner = self.inner.lock();
        inner.change(&name, |old| match local {
            true => old.local = Some(value.clone()),
            false => {
                old.session.clone_from(&value);
                old.local = None;
            }
        });
        Ok(value)
    }

    /// Sets a value that users cannot set, without transaction.
    pub fn force(&self, name: &str, value: &str) {
        let mut inner = self.inner.lock();
        let name: Arc<str> = canonical_name(name).into();
        let old = inner
            .values
            .insert(name.clone(), Value { session: value.to_owned(), local: None, reset: value.to_owned() });
        if old.is_none_or(|old| old.session != value) {
            inner.mark_changed(&name);
        }
        inner.reparse(&name);
    }

    /// RESET, or SET TO DEFAULT.
    ///
    /// # Errors
    /// As for SET.
    pub fn reset(&self, name: &str, local: bool) -> PgResult<()> {
        self.check_settable(name, false)?;
        let name: Arc<str> = canonical_name(name).into();
        self.inner.lock().change(&name, |value| match local {
            true => value.local = Some(value.reset.clone()),
            false => {
                value.session.clone_from(&value.reset);
                value.local = None;
            }
        });
        Ok(())
    }

    /// RESET ALL.
    pub fn reset_all(&self) {
        let mut inner = self.inner.lock();
        let names: Vec<Arc<str>> = inner.values.keys().cloned().collect();
        for name in names {
            let settable = setting(&name)
                .is_none_or(|desc| matches!(desc.context, SettingContext::User | SettingContext::Superuser));
            let excluded = setting(&name).is_some_and(|desc| desc.flags.iter().any(|f| f == "NO_RESET_ALL"));
            if settable && !excluded {
                inner.change(&name, |value| {
                    value.session.clone_from(&value.reset);
                    value.local = None;
                });
            }
        }
    }

    /// The value as SHOW prints it.
    pub fn show(&self, name: &str) -> Option<String> {
        let canonical = canonical_name(name);
        if let Some(value) = self.inner.lock().values.get(&*canonical) {
            return Some(value.effective().to_owned());
        }
        setting(name).map(default_value)
    }

    /// All settings with their values, by name.
    pub fn all(&self) -> Vec<(&'static SettingDesc, String)> {
        let inner = self.inner.lock();
        settings()
            .iter()
            .map(|desc| {
                let value = inner.values.get(desc.name).map(|v| v.effective().to_owned());
                (desc, value.unwrap_or_else(|| default_value(desc)))
            })
            .collect()
    }

    /// The typed view.
    pub fn parsed<T>(&self, read: impl FnOnce(&Parsed) -> T) -> T {
        read(&self.inner.lock().parsed)
    }

    /// Changes whenever a setting has changed.
    pub fn version(&self) -> u64 {
        self.inner.lock().version
    }

    /// Current position in the undo log.
    pub fn mark(&self) -> SettingsMark {
        self.inner.lock().undo.len()
    }

    /// Undoes the changes since a position.
    pub fn rollback_to(&self, mark: SettingsMark) {
        let mut inner = self.inner.lock();
        while inner.undo.len() > mark {
            let Some((name, old)) = inner.undo.pop() else { break };
            match old {
                Some(value) => inner.values.insert(name.clone(), value),
                None => inner.values.remove(&name),
            };
            inner.mark_changed(&name);
            inner.reparse(&name);
        }
    }

    /// The transaction ended.
    pub fn end_transaction(&self, committed: bool) {
        if !committed {
            self.rollback_to(0);
            return;
        }
        let mut inner = self.inner.lock();
        let undo = std::mem::take(&mut inner.undo);
        for (name, _) in undo {
            if let Some(value) = inner.values.get_mut(&name)
                && value.local.take().is_some()
            {
                inner.mark_changed(&name);
                inner.reparse(&name);
            }
        }
    }

    /// Settings to report at start.
    pub fn reported(&self) -> Vec<(String, String)> {
        REPORTED.iter().filter_map(|name| Some(((*name).to_owned(), self.show(name)?))).collect()
    }

    /// Reported settings that changed since the last call.
    pub fn take_changes(&self) -> Vec<(String, String)> {
        let changed = {
            let mut inner = self.inner.lock();
            if inner.changed.is_empty() {
                return Vec::new();
            }
            std::mem::take(&mut inner.changed)
        };
        changed.into_iter().filter_map(|name| Some((name.to_string(), self.show(&name)?))).collect()
    }

    fn checked(&self, name: &str, value: &str, at_start: bool) -> PgResult<(Arc<str>, String)> {
        let desc = self.check_settable(name, at_start)?;
        let value = match desc {
            Some(desc) => normalise(desc, value)?,
            None => value.to_owned(),
        };
        Ok((canonical_name(name).into(), value))
    }

    fn check_settable(&self, name: &str, at_start: bool) -> PgResult<Option<&'static SettingDesc>> {
        let Some(desc) = setting(name) else {
            // A name with a dot is a setting of some extension or application.
            if is_custom(name) {
                return Ok(None);
            }
            if name.contains('.') {
                return Err(PgError::new(
                    SqlState::INVALID_NAME,
                    format!("invalid configuration parameter name \"{name}\""),
                )
                .detail("Custom parameter names must be two or more simple identifiers separated by dots."));
            }
            return Err(unrecognized(name));
        };
        let name = desc.name;
        let denied = |message: String| Err(PgError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, message));
        match desc.context {
            SettingContext::User => Ok(Some(desc)),
            SettingContext::Superuser | SettingContext::SuperuserBackend if !self.superuser => {
                Err(PgError::new(
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    format!("permission denied to set parameter \"{name}\""),
                ))
            }
            SettingContext::Superuser => Ok(Some(desc)),
            SettingContext::Backend | SettingContext::SuperuserBackend if at_start => Ok(Some(desc)),
            SettingContext::Backend | SettingContext::SuperuserBackend => {
                denied(format!("parameter \"{name}\" cannot be set after connection start"))
            }
            SettingContext::Internal => denied(format!("parameter \"{name}\" cannot be changed")),
            SettingContext::Postmaster => {
                denied(format!("parameter \"{name}\" cannot be changed without restarting the server"))
            }
            SettingContext::Sighup => denied(format!("parameter \"{name}\" cannot be changed now")),
        }
    }
}

impl Settings for SessionSettings {
    fn get(&self, name: &str) -> Option<String> {
        self.show(name)
    }

    fn set(&self, name: &str, value: &str, local: bool) -> PgResult<String> {
        self.assign(name, value, local)
    }
}

impl Value {
    fn effective(&self) -> &str {
        self.local.as_deref().unwrap_or(&self.session)
    }
}

impl Inner {
    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Value)) {
        let old = self.values.get(name).cloned();
        let default = || setting(name).map_or_else(String::new, default_value);
        let mut value = old.clone().unwrap_or_else(|| {
            let default = default();
            Value { session: default.clone(), local: None, reset: default }
        });
        let before = value.effective().to_owned();
        change(&mut value);
        if value.effective() != before {
            self.mark_changed(name);
        }
        self.values.insert(name.clone(), value);
        self.undo.push((name.clone(), old));
        self.reparse(name);
    }

    fn mark_changed(&mut self, name: &Arc<str>) {
        if REPORTED.contains(&&**name) && !self.changed.contains(name) {
            self.changed.push(name.clone());
        }
    }

    /// Brings the typed view up to date with one setting.
    fn reparse(&mut self, name: &str) {
        let default;
        let value = match self.values.get(name) {
            Some(value) => value.effective(),
            None => {
                default = setting(name).map_or_else(String::new, default_value);
                &default
            }
        };
        self.version += 1;
        let parsed = &mut self.parsed;
        match name {
            "DateStyle" => {
                let lower = value.to_ascii_lowercase();
                parsed.io.date_style = match lower.split(',').next().unwrap_or("").trim() {
                    "sql" => DateStyle::Sql,
                    "postgres" => DateStyle::Postgres,
                    "german" => DateStyle::German,
                    _ => DateStyle::Iso,
                };
                parsed.io.date_order = match lower.rsplit(',').next().unwrap_or("").trim() {
                    "dmy" => DateOrder::Dmy,
                    "ymd" => DateOrder::Ymd,
                    _ => DateOrder::Mdy,
                };
            }
            "IntervalStyle" => {
                parsed.io.interval_style = match value {
                    "postgres_verbose" => IntervalStyle::PostgresVerbose,
                    "sql_standard" => IntervalStyle::SqlStandard,
                    "iso_8601" => IntervalStyle::Iso8601,
                    _ => IntervalStyle::Postgres,
                };
            }
            "TimeZone" => {
                if let Some(zone) = TimeZone::from_setting(value) {
                    parsed.io.time_zone = zone;
                }
            }
            "extra_float_digits" => parsed.io.extra_float_digits = value.parse().unwrap_or(1),
            "bytea_output" => {
                parsed.io.bytea_output =
                    if value == "escape" { ByteaOutput::Escape } else { ByteaOutput::Hex };
            }
            "search_path" => {
                parsed.search_path = split_identifiers(value).unwrap_or_default().into();
            }
            "statement_timeout" => parsed.statement_timeout = milliseconds(value),
            "lock_timeout" => parsed.lock_timeout = milliseconds(value),
            "transaction_timeout" => parsed.transaction_timeout = milliseconds(value),
            "deadlock_timeout" => {
                parsed.deadlock_timeout = milliseconds(value).unwrap_or(WaitLimits::NONE.deadlock);
            }
            "idle_in_transaction_session_timeout" => parsed.idle_in_transaction_timeout = milliseconds(value),
            "idle_session_timeout" => parsed.idle_session_timeout = milliseconds(value),
            "default_transaction_isolation" => {
                parsed.default_isolation = match value {
                    "serializable" => IsolationLevel::Serializable,
                    "repeatable read" => IsolationLevel::RepeatableRead,
                    _ => IsolationLevel::ReadCommitted,
                };
            }
            "default_transaction_read_only" => parsed.default_read_only = value == "on",
            "default_buckets" => {
                parsed.default_buckets = value.parse().ok().and_then(Buckets::new).unwrap_or_default();
            }
            "client_min_messages" => {
                parsed.client_min_messages = match value {
                    "error" => Severity::Error,
                    "warning" => Severity::Warning,
                    "log" => Severity::Log,
                    "notice" => Severity::Notice,
                    _ => Severity::Debug,
                };
            }
            _ => {}
        }
    }
}

/// 42704.
pub fn unrecognized(name: &str) -> PgError {
    PgError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// Splits a list of identifiers as `search_path` has it.
pub fn split_identifiers(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list.trim();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (_, '"') if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    (at, '"') => break at + 1,
                    (_, c) => name.push(c),
                }
            };
            names.push(name);
            rest = quoted[end..].trim_start();
        } else {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            names.push(rest[..end].to_lowercase());
            rest = rest[end..].trim_start();
        }
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

fn canonical_name(name: &str) -> String {
    setting(name).map_or_else(|| name.to_ascii_lowercase(), |desc| desc.name.to_owned())
}

fn is_custom(name: &str) -> bool {
    let simple = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
    };
    name.contains('.') && name.split('.').all(simple)
}

/// What SHOW prints of a setting that nobody has set.
pub fn default_value(desc: &SettingDesc) -> String {
    let boot = desc.boot_val.as_deref().unwrap_or("");
    normalise(desc, boot).unwrap_or_else(|_| boot.to_owned())
}

/// A duration setting in SHOW's form; `None` for 0.
fn milliseconds(value: &str) -> Option<Duration> {
    let ms = super::setting_value::parse_integer_with_unit(value, Some("ms"))?;
    u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}
