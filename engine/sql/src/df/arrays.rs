//! Values in Arrow: which array type each PostgreSQL type has, and the way there and back.
//!
//! | PostgreSQL | Arrow |
//! |---|---|
//! | bool, int2/4/8, float4/8 | Boolean, Int16/32/64, Float32/64 |
//! | date | Date32 (days since 2000, the infinities as in storage) |
//! | timestamp, timestamptz, time | Int64 microseconds |
//! | oid and reg* | UInt32 |
//! | text and its kin | Utf8View |
//! | everything else | BinaryView in the stored form |

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanBuilder, Date32Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringViewBuilder, UInt32Builder,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema,
    SchemaRef, UInt32Type,
};
use shardforge_types::codec::row;
use shardforge_types::{Datum, Oid, PgError, PgResult, oid};

use crate::catalog::builtin::builtin;
use crate::ir::Col;

/// The Arrow type of a PostgreSQL type.
pub fn arrow_type(ty: Oid) -> DataType {
    match ty {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 => DataType::Int32,
        oid::INT8 | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::TIME => DataType::Int64,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::DATE => DataType::Date32,
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::UNKNOWN
        | oid::JSON
        | oid::JSONB
        | oid::CSTRING => DataType::Utf8View,
        ty if shardforge_types::io::is_oid_like(ty) => DataType::UInt32,
        // A domain, as information_schema has them: its values are those of its base.
        ty => match builtin().type_by_oid(ty) {
            Some(desc) if desc.basetype.is_valid() => arrow_type(desc.basetype),
            _ => DataType::BinaryView,
        },
    }
}

/// True if byte or number order of the Arrow type is the order (and equality) of the PostgreSQL type.
pub fn orders_natively(ty: Oid) -> bool {
    match ty {
        oid::BPCHAR | oid::JSON | oid::JSONB => false,
        oid::FLOAT4 | oid::FLOAT8 => false,
        _ => arrow_type(ty) != DataType::BinaryView,
    }
}

/// The schema of a relation's columns: fields are named by column id.
pub fn schema_of(cols: &[Col]) -> SchemaRef {
    let fields: Vec<Field> =
        cols.iter().map(|col| Field::new(format!("c{}", col.id.0), arrow_type(col.ty.oid), true)).collect();
    Arc::new(Schema::new(fields))
}

/// Builds an array of one type from values.
pub enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Date(Date32Builder),
    Oid(UInt32Builder),
    Text(StringViewBuilder),
    Binary(BinaryViewBuilder, Vec<u8>),
}

impl ColumnBuilder {
    /// A builder for values of a type.
    pub fn new(ty: Oid) -> ColumnBuilder {
        match arrow_type(ty) {
            DataType::Boolean => ColumnBuilder::Bool(BooleanBuilder::new()),
            DataType::Int16 => ColumnBuilder::Int2(Int16Builder::new()),
            DataType::Int32 => ColumnBuilder::Int4(Int32Builder::new()),
            DataType::Int64 => ColumnBuilder::Int8(Int64Builder::new()),
            DataType::Float32 => ColumnBuilder::Float4(Float32Builder::new()),
            DataType::Float64 => ColumnBuilder::Float8(Float64Builder::new()),
            DataType::Date32 => ColumnBuilder::Date(Date32Builder::new()),
            DataType::UInt32 => ColumnBuilder::Oid(UInt32Builder::new()),
            DataType::Utf8View => ColumnBuilder::Text(StringViewBuilder::new()),
            _ => ColumnBuilder::Binary(BinaryViewBuilder::new(), Vec::new()),
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// XX000 if the value is of another type.
    pub fn push(&mut self, value: &Datum) -> PgResult<()> {
        match (self, value) {
            (ColumnBuilder::Bool(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Int2(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Int4(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Int8(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Float4(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Float8(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Date(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Oid(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Text(b), Datum::Null) => b.append_null(),
            (ColumnBuilder::Binary(b, _), Datum::Null) => b.append_null(),
            (ColumnBuilder::Bool(b), Datum::Bool(v)) => b.append_value(*v),
            (ColumnBuilder::Int2(b), Datum::Int2(v)) => b.append_value(*v),
            (ColumnBuilder::Int4(b), Datum::Int4(v)) => b.append_value(*v),
            (
                ColumnBuilder::Int8(b),
                Datum::Int8(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) | Datum::Time(v),
            ) => {
                b.append_value(*v);
            }
            (ColumnBuilder::Float4(b), Datum::Float4(v)) => b.append_value(*v),
            (ColumnBuilder::Float8(b), Datum::Float8(v)) => b.append_value(*v),
            (ColumnBuilder::Date(b), Datum::Date(v)) => b.append_value(*v),
            (ColumnBuilder::Oid(b), Datum::Oid(v)) => b.append_value(*v),
            (ColumnBuilder::Text(b), Datum::Text(v)) => b.append_value(v),
            (ColumnBuilder::Binary(b, scratch), value) => {
                scratch.clear();
                row::put_value(value, scratch);
                b.append_value(&scratch[..]);
            }
            (_, value) => return Err(PgError::internal(format!("unexpected representation: {value:?}"))),
        }
        Ok(())
    }

    /// The array.
    pub fn finish(self) -> ArrayRef {
        match self {
            ColumnBuilder::Bool(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int2(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int4(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int8(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Float4(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Float8(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Date(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Oid(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Text(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Binary(mut b, _) => Arc::new(b.finish()),
        }
    }
}

/// The value at a row of an array that holds values of a type.
///
/// # Errors
/// XX001 if stored bytes are damaged.
pub fn value_at(array: &dyn Array, ty: Oid, row_index: usize) -> PgResult<Datum> {
    if array.is_null(row_index) {
        return Ok(Datum::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Datum::Bool(array.as_boolean().value(row_index)),
        DataType::Int16 => Datum::Int2(array.as_primitive::<Int16Type>().value(row_index)),
        DataType::Int32 => Datum::Int4(array.as_primitive::<Int32Type>().value(row_index)),
        DataType::Int64 => {
            let value = array.as_primitive::<Int64Type>().value(row_index);
            match ty {
                oid::TIMESTAMP => Datum::Timestamp(value),
                oid::TIMESTAMPTZ => Datum::Timestamptz(value),
                oid::TIME => Datum::Time(value),
                _ => Datum::Int8(value),
            }
        }
        DataType::Float32 => Datum::Float4(array.as_primitive::<Float32Type>().value(row_index)),
        DataType::Float64 => Datum::Float8(array.as_primitive::<Float64Type>().value(row_index)),
        DataType::Date32 => Datum::Date(array.as_primitive::<Date32Type>().value(row_index)),
        DataType::UInt32 => Datum::Oid(array.as_primitive::<UInt32Type>().value(row_index)),
        DataType::Utf8View => Datum::text(array.as_string_view().value(row_index)),
        DataType::BinaryView => row::get_value(ty, array.as_binary_view().value(row_index))?,
        DataType::Null => Datum::Null,
        other => return Err(PgError::internal(format!("unexpected Arrow type {other}"))),
    })
}
