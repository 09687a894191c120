//! Building rows by column name, of the wanted columns only.

use std::sync::Arc;

use shardforge_types::{ArrayDim, ArrayValue, Datum, Oid, oid};

use crate::catalog::builtin::SystemRelation;

/// Collects the rows of one scan.
pub(crate) struct Rows {
    relation: &'static SystemRelation,
    /// The names of the wanted columns.
    names: Vec<&'static str>,
    /// A row in which nothing was set.
    blank: Vec<Datum>,
    out: Vec<Vec<Datum>>,
}

/// One row under construction.
pub(crate) struct RowBuilder<'a> {
    relation: &'static SystemRelation,
    names: &'a [&'static str],
    values: Vec<Datum>,
}

impl Rows {
    pub fn new(relation: &'static SystemRelation, wanted: &[i16]) -> Self {
        let column = |attnum: &i16| usize::try_from(*attnum - 1).ok().and_then(|n| relation.columns.get(n));
        let blank = |attnum| match column(attnum) {
            Some(column) if column.not_null => zero(column.ty),
            _ => Datum::Null,
        };
        Self {
            relation,
            names: wanted.iter().map(|a| column(a).map_or("", |c| c.name)).collect(),
            blank: wanted.iter().map(blank).collect(),
            out: Vec::new(),
        }
    }

    /// Adds a row; `fill` sets its columns.
    pub fn push(&mut self, fill: impl FnOnce(&mut RowBuilder<'_>)) {
        let mut row = RowBuilder { relation: self.relation, names: &self.names, values: self.blank.clone() };
        fill(&mut row);
        self.out.push(row.values);
    }

    /// Adds a row of the wanted columns.
    pub fn push_row(&mut self, values: Vec<Datum>) {
        self.out.push(values);
    }

    pub fn finish(self) -> Vec<Vec<Datum>> {
        self.out
    }
}

impl RowBuilder<'_> {
    /// Sets a column, if it is wanted.
    pub fn set(&mut self, column: &str, value: impl ToDatum) -> &mut Self {
        if cfg!(any(test, debug_assertions)) {
            assert!(self.relation.column(column).is_some(), "{} has no column {column}", self.relation.name);
        }
        for (position, name) in self.names.iter().enumerate() {
            if *name == column {
                self.values[position] = value.to_datum();
                break;
            }
        }
        self
    }

    /// Sets a column whose value costs something.
    pub fn set_with<T: ToDatum>(&mut self, column: &str, value: impl FnOnce() -> T) -> &mut Self {
        if self.names.contains(&column) { self.set(column, value()) } else { self }
    }
}

/// What stands in a NOT NULL column that nobody set.
fn zero(ty: Oid) -> Datum {
    match ty {
        oid::BOOL => Datum::Bool(false),
        oid::INT2 => Datum::Int2(0),
        oid::INT4 => Datum::Int4(0),
        oid::INT8 => Datum::Int8(0),
        oid::FLOAT4 => Datum::Float4(0.0),
        oid::FLOAT8 => Datum::Float8(0.0),
        oid::CHAR => Datum::Char(0),
        oid::NAME | oid::TEXT => Datum::text(""),
        oid::OIDVECTOR => oid_vector(&[]),
        oid::INT2VECTOR => int2_vector(&[]),
        _ => Datum::Oid(0),
    }
}

/// An oidvector: an array with subscripts from 0.
pub(crate) fn oid_vector(oids: &[Oid]) -> Datum {
    vector(oid::OID, oids.iter().map(|o| Datum::Oid(o.0)).collect())
}

/// An int2vector: an array with subscripts from 0.
pub(crate) fn int2_vector(numbers: &[i16]) -> Datum {
    vector(oid::INT2, numbers.iter().map(|n| Datum::Int2(*n)).collect())
}

fn vector(elem: Oid, elements: Vec<Datum>) -> Datum {
    let dims = match i32::try_from(elements.len()) {
        Ok(len) if len > 0 => vec![ArrayDim { len, lower_bound: 0 }],
        _ => Vec::new(),
    };
    Datum::Array(Arc::new(ArrayValue { elem, dims, elements }))
}

/// An array with subscripts from 1.
pub(crate) fn array(elem: Oid, elements: impl IntoIterator<Item = Datum>) -> Datum {
    Datum::Array(Arc::new(ArrayValue::from_elements(elem, elements.into_iter().collect())))
}

/// A `text[]`.
pub(crate) fn text_array<T: Into<Arc<str>>>(elements: impl IntoIterator<Item = T>) -> Datum {
    array(oid::TEXT, elements.into_iter().map(Datum::text))
}

/// What can stand in a column.
pub(crate) trait ToDatum {
    fn to_datum(self) -> Datum;
}

macro_rules! to_datum {
    ($($ty:ty => |$value:ident| $datum:expr;)*) => {
        $(impl ToDatum for $ty {
            fn to_datum(self) -> Datum {
                let $value = self;
                $datum
            }
        })*
    };
}

to_datum! {
    Datum => |v| v;
    bool => |v| Datum::Bool(v);
    i16 => |v| Datum::Int2(v);
    i32 => |v| Datum::Int4(v);
    i64 => |v| Datum::Int8(v);
    f32 => |v| Datum::Float4(v);
    f64 => |v| Datum::Float8(v);
    u8 => |v| Datum::Char(v);
    Oid => |v| Datum::Oid(v.0);
    &str => |v| Datum::text(v);
    &String => |v| Datum::text(v.as_str());
    String => |v| Datum::text(v);
}

impl<T: ToDatum> ToDatum for Option<T> {
    fn to_datum(self) -> Datum {
        self.map_or(Datum::Null, ToDatum::to_datum)
    }
}

/// An `aclitem[]` from its text.
pub(crate) fn acl(text: &str) -> Datum {
    let items = crate::catalog::builtin::tsv::array_elements(text);
    array(oid::ACLITEM, items.into_iter().flatten().map(Datum::text))
}
