//! Types: pg_type and pg_range.

use std::borrow::Cow;

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::data;
use super::tsv::{Tsv, columns};

/// `pg_type.typtype`: what kind of type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeKind {
    /// An ordinary type with its own input and output.
    Base,
    /// A row type.
    Composite,
    /// A base type with constraints.
    Domain,
    /// A list of labels.
    Enum,
    /// `anyelement`, `record`, `trigger` and their like: no values of their own.
    Pseudo,
    /// A range.
    Range,
    /// A set of ranges.
    Multirange,
}

impl TypeKind {
    /// From the letter in pg_type.
    pub fn from_char(c: u8) -> Option<Self> {
        Some(match c {
            b'b' => Self::Base,
            b'c' => Self::Composite,
            b'd' => Self::Domain,
            b'e' => Self::Enum,
            b'p' => Self::Pseudo,
            b'r' => Self::Range,
            b'm' => Self::Multirange,
            _ => return None,
        })
    }

    /// The letter in pg_type.
    pub fn as_char(self) -> u8 {
        match self {
            Self::Base => b'b',
            Self::Composite => b'c',
            Self::Domain => b'd',
            Self::Enum => b'e',
            Self::Pseudo => b'p',
            Self::Range => b'r',
            Self::Multirange => b'm',
        }
    }
}

/// A row of pg_type. Fields are named as the columns are, without `typ`.
#[derive(Clone, Debug)]
pub struct TypeDesc {
    /// The type's oid.
    pub oid: Oid,
    /// Its internal name: `int4`, `_text`.
    pub name: Cow<'static, str>,
    /// The schema's oid.
    pub namespace: Oid,
    /// Bytes of a value in PostgreSQL's memory; -1 is variable, -2 a C string.
    pub len: i16,
    /// Whether PostgreSQL passes it by value.
    pub byval: bool,
    /// The kind of type.
    pub kind: TypeKind,
    /// The category that overload resolution goes by: `N` numeric, `S` string, `D` date and time, ...
    pub category: u8,
    /// Whether it is the preferred type of its category.
    pub preferred: bool,
    /// What separates the elements of an array of it.
    pub delim: u8,
    /// The relation, of a composite type.
    pub relid: Oid,
    /// The function that resolves subscripts (`array_subscript_handler` for true arrays), or 0.
    pub subscript: Oid,
    /// The type of the elements, or 0.
    pub elem: Oid,
    /// The type of arrays of this type, or 0.
    pub array: Oid,
    /// Text input function.
    pub input: Oid,
    /// Text output function.
    pub output: Oid,
    /// Binary input function, or 0.
    pub receive: Oid,
    /// Binary output function, or 0.
    pub send: Oid,
    /// Reads a type modifier, or 0.
    pub modin: Oid,
    /// Shows a type modifier, or 0.
    pub modout: Oid,
    /// Alignment: `c`, `s`, `i` or `d`.
    pub align: u8,
    /// Storage strategy: `p`, `e`, `m` or `x`.
    pub storage: u8,
    /// The base type, of a domain.
    pub basetype: Oid,
    /// The type modifier for the base type, of a domain.
    pub typmod: i32,
    /// The collation, or 0 if the type has none.
    pub collation: Oid,
}

/// `array_subscript_handler`: what makes an array of a type with elements (`name` and `point` have them too).
const ARRAY_SUBSCRIPT_HANDLER: Oid = Oid(6179);

impl TypeDesc {
    /// Whether it is a true array type, as PostgreSQL's `IsTrueArrayType`: variable length, elements, subscripts.
    pub fn is_array(&self) -> bool {
        self.elem.0 != 0 && self.subscript == ARRAY_SUBSCRIPT_HANDLER
    }

    /// Whether values of it have a collation.
    pub fn is_collatable(&self) -> bool {
        self.collation.0 != 0
    }
}

/// A row of pg_range.
#[derive(Clone, Debug)]
pub struct RangeDesc {
    /// The range type.
    pub range: Oid,
    /// The type of its bounds.
    pub subtype: Oid,
    /// The multirange type.
    pub multirange: Oid,
    /// The collation of the bounds, or 0.
    pub collation: Oid,
    /// The operator class that orders the bounds.
    pub opclass: Oid,
    /// Brings a discrete range into canonical form, or 0.
    pub canonical: Oid,
    /// The difference of two bounds, or 0.
    pub subdiff: Oid,
}

/// All built-in types, found by oid and by name.
#[derive(Debug)]
pub(super) struct Types {
    pub all: &'static [TypeDesc],
    pub by_oid: HashMap<Oid, &'static TypeDesc>,
    by_name: HashMap<&'static str, Vec<&'static TypeDesc>>,
    pub ranges: Vec<RangeDesc>,
}

impl Types {
    pub fn load() -> Self {
        let all: &'static [TypeDesc] = Vec::leak(load_types());
        let mut by_name: HashMap<&'static str, Vec<&'static TypeDesc>> = HashMap::with_capacity(all.len());
        for desc in all {
            by_name.entry(&desc.name).or_default().push(desc);
        }
        Self { all, by_oid: all.iter().map(|t| (t.oid, t)).collect(), by_name, ranges: load_ranges() }
    }

    pub fn by_name(&self, namespace: Oid, name: &str) -> Option<&'static TypeDesc> {
        self.by_name.get(name)?.iter().copied().find(|t| t.namespace == namespace)
    }
}

fn load_types() -> Vec<TypeDesc> {
    let tsv = Tsv::new(data::PG_TYPE);
    columns!(
        tsv: oid, typname, typnamespace, typlen, typbyval, typtype, typcategory, typispreferred, typdelim, typrelid,
        typsubscript, typelem, typarray, typinput, typoutput, typreceive, typsend, typmodin, typmodout, typalign,
        typstorage, typbasetype, typtypmod, typcollation
    );
    tsv.iter()
        .map(|row| TypeDesc {
            oid: row.oid(oid),
            name: Cow::Borrowed(row.name(typname)),
            namespace: row.oid(typnamespace),
            len: row.number(typlen),
            byval: row.bool(typbyval),
            kind: TypeKind::from_char(row.char(typtype)).expect("a known typtype"),
            category: row.char(typcategory),
            preferred: row.bool(typispreferred),
            delim: row.char(typdelim),
            relid: row.oid(typrelid),
            subscript: row.oid(typsubscript),
            elem: row.oid(typelem),
            array: row.oid(typarray),
            input: row.oid(typinput),
            output: row.oid(typoutput),
            receive: row.oid(typreceive),
            send: row.oid(typsend),
            modin: row.oid(typmodin),
            modout: row.oid(typmodout),
            align: row.char(typalign),
            storage: row.char(typstorage),
            basetype: row.oid(typbasetype),
            typmod: row.number(typtypmod),
            collation: row.oid(typcollation),
        })
        .collect()
}

fn load_ranges() -> Vec<RangeDesc> {
    let tsv = Tsv::new(data::PG_RANGE);
    columns!(tsv: rngtypid, rngsubtype, rngmultitypid, rngcollation, rngsubopc, rngcanonical, rngsubdiff);
    tsv.iter()
        .map(|row| RangeDesc {
            range: row.oid(rngtypid),
            subtype: row.oid(rngsubtype),
            multirange: row.oid(rngmultitypid),
            collation: row.oid(rngcollation),
            opclass: row.oid(rngsubopc),
            canonical: row.oid(rngcanonical),
            subdiff: row.oid(rngsubdiff),
        })
        .collect()
}
