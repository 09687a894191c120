//! array_agg and string_agg.

use std::sync::Arc;

use shardforge_types::{ArrayDim, ArrayValue, Datum, Oid, PgError, PgResult, SqlState, oid};

use super::{Accumulator, AggregateFactory, AggregateInfo, heap_size};
use crate::exec::env::EvalEnv;

/// The factories of this family.
pub(super) fn factory(name: &str, args: &[Oid]) -> Option<AggregateFactory> {
    Some(match (name, args) {
        ("array_agg", [oid::ANYNONARRAY]) => |info| Box::new(Elements::new(info)),
        ("array_agg", [oid::ANYARRAY]) => |_| Box::new(Arrays::default()),
        ("string_agg", [oid::TEXT, oid::TEXT]) => |_| Box::new(Joined::<String>::default()),
        ("string_agg", [oid::BYTEA, oid::BYTEA]) => |_| Box::new(Joined::<Vec<u8>>::default()),
        _ => return None,
    })
}

/// The array of the values that a subquery yields: of one dimension more if they are arrays themselves.
///
/// # Errors
/// 22004 and 2202E for arrays that do not fit together.
pub fn array_of(elem: Oid, values: Vec<Datum>) -> PgResult<Datum> {
    let Some(inner) = shardforge_types::element_type(elem) else {
        return Ok(Datum::Array(Arc::new(ArrayValue::from_elements(elem, values))));
    };
    let mut arrays = Arrays::default();
    for value in &values {
        arrays.add(value)?;
    }
    Ok(arrays.stacked().unwrap_or_else(|| {
        Datum::Array(Arc::new(ArrayValue { elem: inner, dims: Vec::new(), elements: Vec::new() }))
    }))
}

/// array_agg of scalars.
struct Elements {
    elem: Oid,
    elements: Vec<Datum>,
    heap: usize,
}

impl Elements {
    fn new(info: &AggregateInfo) -> Elements {
        Elements { elem: info.arg(0), elements: Vec::new(), heap: 0 }
    }
}

impl Accumulator for Elements {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let value = args.first().cloned().unwrap_or(Datum::Null);
        self.heap += heap_size(&value);
        self.elements.push(value);
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        if self.elements.is_empty() {
            return Ok(Datum::Null);
        }
        Ok(Datum::Array(Arc::new(ArrayValue::from_elements(self.elem, self.elements.clone()))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.elements.capacity() * size_of::<Datum>() + self.heap
    }
}

/// array_agg of arrays: one dimension more.
#[derive(Default)]
struct Arrays {
    first: Option<Arc<ArrayValue>>,
    elements: Vec<Datum>,
    rows: i32,
    heap: usize,
}

impl Arrays {
    fn add(&mut self, value: &Datum) -> PgResult<()> {
        let refuse = |state, message: &str| Err(PgError::new(state, message));
        let Datum::Array(array) = value else {
            return refuse(SqlState::NULL_VALUE_NOT_ALLOWED, "cannot accumulate null arrays");
        };
        if array.dims.is_empty() {
            return refuse(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot accumulate empty arrays");
        }
        match &self.first {
            None => self.first = Some(array.clone()),
            Some(first) if first.dims == array.dims => {}
            Some(_) => {
                let message = "cannot accumulate arrays of different dimensionality";
                return refuse(SqlState::ARRAY_SUBSCRIPT_ERROR, message);
            }
        }
        self.heap += array.elements.iter().map(heap_size).sum::<usize>();
        self.elements.extend(array.elements.iter().cloned());
        self.rows += 1;
        Ok(())
    }

    /// All of them, one above the other; `None` if there were none.
    fn stacked(&self) -> Option<Datum> {
        let first = self.first.as_ref()?;
        let mut dims = vec![ArrayDim { len: self.rows, lower_bound: 1 }];
        dims.extend_from_slice(&first.dims);
        Some(Datum::Array(Arc::new(ArrayValue { elem: first.elem, dims, elements: self.elements.clone() })))
    }
}

impl Accumulator for Arrays {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        self.add(args.first().unwrap_or(&Datum::Null))
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.stacked().unwrap_or(Datum::Null))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.elements.capacity() * size_of::<Datum>() + self.heap
    }
}

/// What string_agg joins: text or bytea.
trait Piece: Default + Send + Sync {
    fn append(&mut self, value: &Datum);
    fn datum(&self) -> Datum;
    fn capacity(&self) -> usize;
}

impl Piece for String {
    fn append(&mut self, value: &Datum) {
        self.push_str(value.as_str().unwrap_or(""));
    }

    fn datum(&self) -> Datum {
        Datum::text(self.as_str())
    }

    fn capacity(&self) -> usize {
        String::capacity(self)
    }
}

impl Piece for Vec<u8> {
    fn append(&mut self, value: &Datum) {
        if let Datum::Bytea(bytes) = value {
            self.extend_from_slice(bytes);
        }
    }

    fn datum(&self) -> Datum {
        Datum::bytea(self.as_slice())
    }

    fn capacity(&self) -> usize {
        Vec::capacity(self)
    }
}

/// string_agg: each value but the first has its own row's delimiter in front.
#[derive(Default)]
struct Joined<T> {
    joined: Option<T>,
}

impl<T: Piece> Accumulator for Joined<T> {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let [value, delimiter] = args else { return Ok(()) };
        if value.is_null() {
            return Ok(());
        }
        match &mut self.joined {
            Some(joined) => {
                joined.append(delimiter);
                joined.append(value);
            }
            None => self.joined.insert(T::default()).append(value),
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.joined.as_ref().map_or(Datum::Null, T::datum))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.joined.as_ref().map_or(0, T::capacity)
    }
}
