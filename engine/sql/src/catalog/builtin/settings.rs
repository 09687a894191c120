//! Settings: what pg_settings tells of each parameter of PostgreSQL and of our own, with its default.

use std::borrow::Cow;
use std::sync::LazyLock;

use hashbrown::HashMap;

use super::data;
use super::tsv::{Row, Tsv, array_elements, columns};

/// `pg_settings.vartype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingType {
    /// on and off.
    Bool,
    /// A whole number, perhaps with a unit.
    Integer,
    /// A number, perhaps with a unit.
    Real,
    /// Any text.
    String,
    /// One of [`SettingDesc::enumvals`].
    Enum,
}

impl SettingType {
    /// As pg_settings shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::String => "string",
            Self::Enum => "enum",
        }
    }
}

/// `pg_settings.context`: who may change a setting, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingContext {
    /// Nobody.
    Internal,
    /// The configuration, at start.
    Postmaster,
    /// The configuration, at reload.
    Sighup,
    /// A connection's start-up packet of a superuser.
    SuperuserBackend,
    /// A connection's start-up packet.
    Backend,
    /// A superuser, at any time.
    Superuser,
    /// Anyone, at any time.
    User,
}

impl SettingContext {
    /// As pg_settings shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Postmaster => "postmaster",
            Self::Sighup => "sighup",
            Self::SuperuserBackend => "superuser-backend",
            Self::Backend => "backend",
            Self::Superuser => "superuser",
            Self::User => "user",
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "internal" => Self::Internal,
            "postmaster" => Self::Postmaster,
            "sighup" => Self::Sighup,
            "superuser-backend" => Self::SuperuserBackend,
            "backend" => Self::Backend,
            "superuser" => Self::Superuser,
            _ => Self::User,
        }
    }
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct SettingDesc {
    /// The name, in the case that SHOW ALL prints.
    pub name: &'static str,
    /// What a number counts: `kB`, `ms`, `8kB`.
    pub unit: Option<&'static str>,
    /// The chapter of the manual.
    pub category: Cow<'static, str>,
    /// What it is for, in a line.
    pub short_desc: Cow<'static, str>,
    /// More of the same.
    pub extra_desc: Option<Cow<'static, str>>,
    /// Who may change it.
    pub context: SettingContext,
    /// Its type.
    pub vartype: SettingType,
    /// The least value, as text.
    pub min: Option<&'static str>,
    /// The greatest value, as text.
    pub max: Option<&'static str>,
    /// The values that an enum takes.
    pub enumvals: Vec<String>,
    /// The default, as text in its unit.
    pub boot_val: Option<Cow<'static, str>>,
    /// `EXPLAIN`, `NO_RESET_ALL` and the like.
    pub flags: Vec<String>,
}

impl SettingDesc {
    /// The least and the greatest value of an integer.
    pub fn integer_range(&self) -> Option<(i64, i64)> {
        Some((self.min?.parse().ok()?, self.max?.parse().ok()?))
    }
}

static SETTINGS: LazyLock<(Vec<SettingDesc>, HashMap<String, usize>)> = LazyLock::new(|| {
    let all = load();
    let by_name = all.iter().enumerate().map(|(i, s)| (s.name.to_ascii_lowercase(), i)).collect();
    (all, by_name)
});

/// All parameters, ordered by name.
pub fn settings() -> &'static [SettingDesc] {
    &SETTINGS.0
}

/// A parameter by its name, in any case.
pub fn setting(name: &str) -> Option<&'static SettingDesc> {
    let (all, by_name) = &*SETTINGS;
    let found = by_name.get(name).or_else(|| by_name.get(name.to_ascii_lowercase().as_str()));
    found.map(|i| &all[*i])
}

fn load() -> Vec<SettingDesc> {
    let tsv = Tsv::new(data::PG_SETTINGS);
    columns!(
        tsv: name, unit, category, short_desc, extra_desc, context, vartype, min_val, max_val, enumvals, boot_val,
        flags
    );
    let list = |row: &Row, column| -> Vec<String> {
        row.text(column).map(|a| array_elements(&a)).unwrap_or_default().into_iter().flatten().collect()
    };
    let setting = |row: Row| SettingDesc {
        name: row.name(name),
        unit: row.raw(unit),
        category: row.text(category).unwrap_or_default(),
        short_desc: row.text(short_desc).unwrap_or_default(),
        extra_desc: row.text(extra_desc),
        context: SettingContext::from_name(row.name(context)),
        vartype: match row.name(vartype) {
            "bool" => SettingType::Bool,
            "integer" => SettingType::Integer,
            "real" => SettingType::Real,
            "enum" => SettingType::Enum,
            _ => SettingType::String,
        },
        min: row.raw(min_val),
        max: row.raw(max_val),
        enumvals: list(&row, enumvals),
        boot_val: row.text(boot_val),
        flags: list(&row, flags),
    };
    let mut all: Vec<SettingDesc> = tsv.iter().map(setting).collect();
    for own in own() {
        all.insert(all.partition_point(|other| other.name < own.name), own);
    }
    all
}

/// Parameters that PostgreSQL does not have.
fn own() -> [SettingDesc; 1] {
    [SettingDesc {
        name: "default_buckets",
        unit: None,
        category: "Client Connection Defaults / Statement Behavior".into(),
        short_desc: "Sets the number of hash buckets of new tables and indexes that do not say it.".into(),
        extra_desc: Some("1 leaves keys in the order of their columns.".into()),
        context: SettingContext::User,
        vartype: SettingType::Integer,
        min: Some("1"),
        max: Some("256"),
        enumvals: Vec::new(),
        boot_val: Some("1".into()),
        flags: Vec::new(),
    }]
}
