//! The rows that every PostgreSQL has: the data files, served as they are.
//!
//! A row stays text until a scan wants it. A hint is answered by an index over the column's text, which is made when
//! the first hint for that column comes: most columns never see one.

use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_types::{Datum, Oid, oid};
use smallvec::SmallVec;

use super::rows::{Rows, array, int2_vector, oid_vector};
use super::{Equality, SystemScan};
use crate::catalog::builtin::tsv::{Tsv, array_elements, unescape};
use crate::catalog::builtin::{SystemRelation, builtin, data, system_relation_by_name};
use crate::catalog::well_known::PG_CATALOG;

/// Row numbers by a column's text.
type Index = HashMap<&'static str, Vec<u32>>;

struct StaticTable {
    tsv: Tsv,
    /// For each field of the file the column's position in the relation.
    fields: Vec<usize>,
    /// By field.
    indexes: Mutex<HashMap<usize, Arc<Index>>>,
}

/// Files that are not the rows of a catalog, or whose catalog has a producer that reads them.
const NOT_ROWS: &[&str] = &["pg_namespace", "pg_settings", "view_definitions"];

static TABLES: LazyLock<HashMap<Oid, LazyLock<StaticTable, Box<dyn FnOnce() -> StaticTable + Send>>>> =
    LazyLock::new(|| {
        let files = data::FILES.iter().filter(|(name, _)| !NOT_ROWS.contains(name));
        let table = |(name, text): &(&'static str, &'static str)| {
            let (name, text) = (*name, *text);
            let relation =
                system_relation_by_name(PG_CATALOG, name).expect("a file has the name of a catalog");
            let load: Box<dyn FnOnce() -> StaticTable + Send> =
                Box::new(move || StaticTable::new(relation, text));
            (relation.oid, LazyLock::new(load))
        };
        files.map(table).collect()
    });

/// What to read of each row.
struct Projection {
    /// For each wanted column its field in the file, if it has one, and its type.
    columns: Vec<(Option<usize>, Oid)>,
    /// How many fields a row must be split into.
    fields: usize,
}

/// Adds the file's rows that may satisfy the hints.
pub(super) fn produce(relation: &'static SystemRelation, scan: &SystemScan<'_>, rows: &mut Rows) {
    let Some(table) = TABLES.get(&relation.oid) else { return };
    let projection = table.project(relation, scan.columns);
    match table.candidates(scan.equalities) {
        Some(found) => {
            found.into_iter().for_each(|row| rows.push_row(table.decode(row as usize, &projection)));
        }
        None => (0..table.tsv.len()).for_each(|row| rows.push_row(table.decode(row, &projection))),
    }
}

impl StaticTable {
    fn new(relation: &SystemRelation, text: &'static str) -> Self {
        let tsv = Tsv::new(text);
        let position = |name: &&str| relation.column(name).expect("a field is a column of the catalog");
        Self { fields: tsv.columns().iter().map(position).collect(), tsv, indexes: Mutex::default() }
    }

    /// The rows that the most selective hint leaves, in order; `None` for all.
    fn candidates(&self, equalities: &[Equality]) -> Option<Vec<u32>> {
        equalities.iter().filter_map(|e| self.matches(e)).min_by_key(Vec::len)
    }

    /// The rows where a hint holds, if it can be looked up.
    fn matches(&self, equality: &Equality) -> Option<Vec<u32>> {
        let position = usize::try_from(equality.attnum - 1).ok()?;
        let field = self.fields.iter().position(|p| *p == position)?;
        let mut found = Vec::new();
        let index = self.index(field);
        for value in equality.values.iter().filter(|v| !v.is_null()) {
            found.extend(index.get(&*lookup_text(value)?).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn index(&self, field: usize) -> Arc<Index> {
        let mut indexes = self.indexes.lock();
        let index = indexes.entry(field).or_insert_with(|| {
            let mut index = Index::new();
            for row in (0u32..).take(self.tsv.len()) {
                index.entry(self.tsv.field(row as usize, field)).or_default().push(row);
            }
            Arc::new(index)
        });
        Arc::clone(index)
    }

    fn project(&self, relation: &SystemRelation, wanted: &[i16]) -> Projection {
        let column = |attnum: &i16| {
            let position = usize::try_from(*attnum - 1).unwrap_or(usize::MAX);
            let field = self.fields.iter().position(|p| *p == position);
            (field, relation.columns.get(position).map_or(Oid(0), |c| c.ty))
        };
        let columns: Vec<_> = wanted.iter().map(column).collect();
        let fields = columns.iter().filter_map(|(field, _)| field.map(|f| f + 1)).max().unwrap_or(0);
        Projection { columns, fields }
    }

    fn decode(&self, row: usize, projection: &Projection) -> Vec<Datum> {
        let mut fields: SmallVec<[&'static str; 32]> = SmallVec::new();
        fields.extend(self.tsv.line(row).split('\t').take(projection.fields));
        let value =
            |(field, ty): &(Option<usize>, Oid)| field.map_or(Datum::Null, |f| decode(fields[f], *ty));
        projection.columns.iter().map(value).collect()
    }
}

/// How a value stands in a file, if it is of a kind that is looked up by.
fn lookup_text(value: &Datum) -> Option<String> {
    match value {
        Datum::Oid(n) => Some(n.to_string()),
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) => value.as_i64().map(|n| n.to_string()),
        Datum::Text(text) if !text.contains(['\\', '\t', '\n', '\r']) => Some(text.to_string()),
        Datum::Char(c) if c.is_ascii_graphic() && *c != b'\\' => Some(char::from(*c).to_string()),
        _ => None,
    }
}

/// The value of a field. What cannot be read is NULL; the tests see to it that there is none such.
fn decode(field: &'static str, ty: Oid) -> Datum {
    if field == "\\N" { Datum::Null } else { parse(&unescape(field), ty) }
}

fn parse(text: &str, ty: Oid) -> Datum {
    fn number<T: std::str::FromStr>(text: &str, wrap: impl FnOnce(T) -> Datum) -> Datum {
        text.parse().map_or(Datum::Null, wrap)
    }
    match ty {
        oid::BOOL => Datum::Bool(text == "t"),
        oid::INT2 => number(text, Datum::Int2),
        oid::INT4 => number(text, Datum::Int4),
        oid::INT8 => number(text, Datum::Int8),
        oid::FLOAT4 => number(text, Datum::Float4),
        oid::FLOAT8 => number(text, Datum::Float8),
        oid::CHAR => Datum::Char(text.bytes().next().unwrap_or(0)),
        oid::OIDVECTOR => oid_vector(&split(text, Oid)),
        oid::INT2VECTOR => int2_vector(&split(text, |n: i16| n)),
        oid::OID | oid::XID | oid::REGPROC | oid::REGTYPE | oid::REGCLASS => number(text, Datum::Oid),
        _ => match builtin().type_by_oid(ty).filter(|t| t.is_array()) {
            Some(desc) => {
                let element = |e: Option<String>| e.map_or(Datum::Null, |e| parse(&e, desc.elem));
                array(desc.elem, array_elements(text).into_iter().map(element))
            }
            None => Datum::text(text),
        },
    }
}

fn split<N: std::str::FromStr, T>(text: &str, wrap: impl Fn(N) -> T) -> Vec<T> {
    text.split(' ').filter_map(|n| n.parse().ok()).map(wrap).collect()
}
