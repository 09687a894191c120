//! Evaluation.

use std::cmp::Ordering;
use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, Oid, PgError, PgResult, RecordValue, SqlState, compare};
use smallvec::SmallVec;

use super::lists::ValueSet;
use super::{RowSource, arrays};
use crate::exec::env::EvalEnv;
use crate::func::{self, CallInfo, Kernel};

/// What an evaluation reads.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub row: &'a dyn RowSource,
    pub params: &'a [Datum],
    pub env: &'a EvalEnv,
    /// The element that the innermost array map is at.
    pub element: Option<&'a Datum>,
}

/// A function as a node calls it.
#[derive(Debug)]
pub(super) struct Function {
    pub kernel: Kernel,
    pub strict: bool,
    pub info: CallInfo,
}

/// A compiled expression. The forms are those of [`crate::ir::ScalarKind`], with calls split by their number of
/// arguments.
#[derive(Debug)]
pub(super) enum Node {
    Const(Datum),
    Column(usize),
    Param(usize),
    Element,
    Call0(Box<Function>),
    Call1(Box<(Function, Node)>),
    Call2(Box<(Function, Node, Node)>),
    Call(Box<Function>, Box<[Node]>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    IsNull {
        arg: Box<Node>,
        negated: bool,
    },
    BoolTest {
        arg: Box<Node>,
        value: Option<bool>,
        negated: bool,
    },
    Distinct {
        eq: Box<Function>,
        sides: Box<(Node, Node)>,
        negated: bool,
    },
    Case {
        whens: Box<[(Node, Node)]>,
        otherwise: Box<Node>,
    },
    Coalesce(Box<[Node]>),
    NullIf {
        eq: Box<Function>,
        sides: Box<(Node, Node)>,
    },
    MinMax {
        ty: Oid,
        wanted: Ordering,
        args: Box<[Node]>,
    },
    IoCast(Box<IoCast>),
    /// int4 to and from oid and its kin: binary coercible in PostgreSQL, two representations here.
    IntToOid(Box<Node>),
    OidToInt(Box<Node>),
    ApplyTypmod {
        arg: Box<Node>,
        ty: Oid,
        typmod: i32,
        explicit: bool,
    },
    ArrayMap {
        arg: Box<Node>,
        elem: Box<Node>,
        elem_type: Oid,
    },
    Array {
        elem_type: Oid,
        elems: Box<[Node]>,
        nested: bool,
    },
    Subscript {
        arg: Box<Node>,
        indexes: Box<[Index]>,
    },
    SubscriptSet {
        elem_type: Oid,
        arg: Box<Node>,
        indexes: Box<[Index]>,
        value: Box<Node>,
    },
    Row {
        types: Box<[Oid]>,
        fields: Box<[Node]>,
    },
    Field {
        arg: Box<Node>,
        index: usize,
    },
    ArrayOp {
        op: Box<Function>,
        any: bool,
        sides: Box<(Node, Node)>,
    },
    InList {
        eq: Box<Function>,
        left: Box<Node>,
        list: Box<[Node]>,
    },
    InSet {
        left: Box<Node>,
        set: Box<ValueSet>,
    },
}

#[derive(Debug)]
pub(super) struct IoCast {
    pub arg: Node,
    pub source: Oid,
    pub target: Oid,
    pub typmod: i32,
}

/// A subscript.
#[derive(Debug)]
pub(super) enum Index {
    At(Node),
    Slice(Option<Node>, Option<Node>),
}

impl Function {
    #[inline]
    fn call(&self, args: &[Datum], env: &EvalEnv) -> PgResult<Datum> {
        if self.strict && args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        (self.kernel)(args, &self.info, env)
    }
}

impl Node {
    pub(super) fn eval(&self, scope: &Scope<'_>) -> PgResult<Datum> {
        match self {
            Node::Const(value) => Ok(value.clone()),
            Node::Column(index) => scope.row.column(*index),
            Node::Param(index) => param(scope.params, *index),
            Node::Element => {
                scope.element.cloned().ok_or_else(|| PgError::internal("no array element in scope"))
            }
            Node::Call0(function) => (function.kernel)(&[], &function.info, scope.env),
            Node::Call1(call) => {
                let args = [call.1.eval(scope)?];
                call.0.call(&args, scope.env)
            }
            Node::Call2(call) => {
                let args = [call.1.eval(scope)?, call.2.eval(scope)?];
                call.0.call(&args, scope.env)
            }
            Node::Call(function, args) => {
                let args = eval_all(args, scope)?;
                function.call(&args, scope.env)
            }
            Node::And(args) => connective(args, scope, false),
            Node::Or(args) => connective(args, scope, true),
            Node::Not(arg) => match arg.eval(scope)? {
                Datum::Bool(value) => Ok(Datum::Bool(!value)),
                _ => Ok(Datum::Null),
            },
            Node::IsNull { arg, negated } => Ok(Datum::Bool(is_null(&arg.eval(scope)?, *negated))),
            Node::BoolTest { arg, value, negated } => {
                let holds = arg.eval(scope)?.as_bool() == *value;
                Ok(Datum::Bool(holds != *negated))
            }
            Node::Distinct { eq, sides, negated } => {
                let args = [sides.0.eval(scope)?, sides.1.eval(scope)?];
                let distinct = match (args[0].is_null(), args[1].is_null()) {
                    (true, true) => false,
                    (false, false) => !matches!((eq.kernel)(&args, &eq.info, scope.env)?, Datum::Bool(true)),
                    _ => true,
                };
                Ok(Datum::Bool(distinct != *negated))
            }
            Node::Case { whens, otherwise } => {
                for (condition, result) in whens {
                    if matches!(condition.eval(scope)?, Datum::Bool(true)) {
                        return result.eval(scope);
                    }
                }
                otherwise.eval(scope)
            }
            Node::Coalesce(args) => {
                for arg in args {
                    let value = arg.eval(scope)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            Node::NullIf { eq, sides } => {
                let args = [sides.0.eval(scope)?, sides.1.eval(scope)?];
                let equal = !args[0].is_null()
                    && !args[1].is_null()
                    && matches!((eq.kernel)(&args, &eq.info, scope.env)?, Datum::Bool(true));
                let [left, _] = args;
                Ok(if equal { Datum::Null } else { left })
            }
            Node::MinMax { ty, wanted, args } => {
                let mut best = Datum::Null;
                for arg in args {
                    let value = arg.eval(scope)?;
                    let better = best.is_null() || compare::cmp(*ty, &value, &best) == *wanted;
                    if !value.is_null() && better {
                        best = value;
                    }
                }
                Ok(best)
            }
            Node::IoCast(cast) => {
                let value = cast.arg.eval(scope)?;
                io_cast(&value, cast.source, cast.target, cast.typmod, scope.env)
            }
            Node::IntToOid(arg) => match arg.eval(scope)? {
                Datum::Int4(value) => Ok(Datum::Oid(value as u32)),
                other => Ok(other),
            },
            Node::OidToInt(arg) => match arg.eval(scope)? {
                Datum::Oid(value) => Ok(Datum::Int4(value as i32)),
                other => Ok(other),
            },
            Node::ApplyTypmod { arg, ty, typmod, explicit } => match arg.eval(scope)? {
                Datum::Null => Ok(Datum::Null),
                value => shardforge_types::apply_typmod(*ty, *typmod, value, *explicit),
            },
            Node::ArrayMap { arg, elem, elem_type } => array_map(&arg.eval(scope)?, elem, *elem_type, scope),
            Node::Array { elem_type, elems, nested } => {
                let values = eval_all(elems, scope)?.into_vec();
                if *nested {
                    arrays::nest(*elem_type, &values)
                } else {
                    arrays::from_values(*elem_type, values)
                }
            }
            Node::Subscript { arg, indexes } => subscript(&arg.eval(scope)?, indexes, scope),
            Node::SubscriptSet { elem_type, arg, indexes, value } => {
                subscript_set(*elem_type, &arg.eval(scope)?, indexes, value.eval(scope)?, scope)
            }
            Node::Row { types, fields } => {
                let fields = eval_all(fields, scope)?.into_vec();
                Ok(Datum::Record(Arc::new(RecordValue { types: types.to_vec(), fields })))
            }
            Node::Field { arg, index } => match arg.eval(scope)? {
                Datum::Record(record) => Ok(record.fields.get(*index).cloned().unwrap_or(Datum::Null)),
                _ => Ok(Datum::Null),
            },
            Node::ArrayOp { op, any, sides } => {
                let array = sides.1.eval(scope)?;
                array_op(op, *any, sides.0.eval(scope)?, &array, scope.env)
            }
            Node::InList { eq, left, list } => in_list(eq, left.eval(scope)?, list, scope),
            Node::InSet { left, set } => Ok(set.contains(&left.eval(scope)?)),
        }
    }
}

fn param(params: &[Datum], index: usize) -> PgResult<Datum> {
    params.get(index).cloned().ok_or_else(|| {
        PgError::new(
            shardforge_types::SqlState::UNDEFINED_PARAMETER,
            format!("no value found for parameter {}", index + 1),
        )
    })
}

fn eval_all(nodes: &[Node], scope: &Scope<'_>) -> PgResult<SmallVec<[Datum; 4]>> {
    let mut values = SmallVec::with_capacity(nodes.len());
    for node in nodes {
        values.push(node.eval(scope)?);
    }
    Ok(values)
}

/// AND (`decisive` false) and OR (`decisive` true): stop at the decisive value, else NULL if there was one.
fn connective(args: &[Node], scope: &Scope<'_>, decisive: bool) -> PgResult<Datum> {
    let mut unknown = false;
    for arg in args {
        match arg.eval(scope)? {
            Datum::Bool(value) if value == decisive => return Ok(Datum::Bool(decisive)),
            Datum::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!decisive) })
}

/// `IS [NOT] NULL`. A row is null if all of its fields are, and not null if none is: both may be false.
fn is_null(value: &Datum, negated: bool) -> bool {
    match value {
        Datum::Record(record) => record.fields.iter().all(|field| field.is_null() != negated),
        other => other.is_null() != negated,
    }
}

/// Converts a value through its text form.
pub(super) fn io_cast(
    value: &Datum,
    source: Oid,
    target: Oid,
    typmod: i32,
    env: &EvalEnv,
) -> PgResult<Datum> {
    match value {
        Datum::Null => Ok(Datum::Null),
        Datum::Text(text) => func::input(target, typmod, text, env),
        other => func::input(target, typmod, &func::to_text(source, other, env)?, env),
    }
}

fn array_map(array: &Datum, elem: &Node, elem_type: Oid, scope: &Scope<'_>) -> PgResult<Datum> {
    let Datum::Array(array) = array else { return Ok(Datum::Null) };
    let mut elements = Vec::with_capacity(array.elements.len());
    for element in &array.elements {
        elements.push(elem.eval(&Scope { element: Some(element), ..*scope })?);
    }
    Ok(Datum::Array(Arc::new(ArrayValue { elem: elem_type, dims: array.dims.clone(), elements })))
}

fn subscript(array: &Datum, indexes: &[Index], scope: &Scope<'_>) -> PgResult<Datum> {
    let is_slice = indexes.iter().any(|index| matches!(index, Index::Slice(..)));
    let bound = |node: &Node| -> PgResult<Option<i32>> {
        Ok(match node.eval(scope)? {
            Datum::Int4(value) => Some(value),
            _ => None,
        })
    };
    let Datum::Array(array) = array else {
        return Ok(Datum::Null);
    };
    if !is_slice {
        let mut at: SmallVec<[i32; 4]> = SmallVec::new();
        for index in indexes {
            let Index::At(node) = index else { continue };
            match bound(node)? {
                Some(value) => at.push(value),
                None => return Ok(Datum::Null),
            }
        }
        return Ok(array.get(&at).cloned().unwrap_or(Datum::Null));
    }
    let mut ranges: SmallVec<[arrays::Range; 4]> = SmallVec::new();
    for index in indexes {
        // In a slice, a plain subscript n stands for 1:n.
        let (lower, upper) = match index {
            Index::At(node) => (arrays::Bound::At(1), arrays::Bound::from(bound(node)?)),
            Index::Slice(lower, upper) => {
                let lower = lower.as_ref().map(bound).transpose()?;
                let upper = upper.as_ref().map(bound).transpose()?;
                (
                    lower.map_or(arrays::Bound::Open, arrays::Bound::from),
                    upper.map_or(arrays::Bound::Open, arrays::Bound::from),
                )
            }
        };
        ranges.push((lower, upper));
    }
    arrays::slice(array, &ranges)
}

/// An array with an element or a slice replaced.
fn subscript_set(
    elem: Oid,
    array: &Datum,
    indexes: &[Index],
    value: Datum,
    scope: &Scope<'_>,
) -> PgResult<Datum> {
    let old = match array {
        Datum::Array(array) => Some(&**array),
        _ => None,
    };
    let bound = |node: &Node| match node.eval(scope)? {
        Datum::Int4(value) => Ok(value),
        _ => Err(PgError::new(
            SqlState::NULL_VALUE_NOT_ALLOWED,
            "array subscript in assignment must not be null",
        )),
    };
    if let [Index::Slice(lower, upper)] = indexes {
        let lower = lower.as_ref().map(bound).transpose()?;
        let upper = upper.as_ref().map(bound).transpose()?;
        return match value {
            Datum::Array(source) => arrays::set_slice(old, elem, lower, upper, &source),
            _ => Ok(array.clone()),
        };
    }
    let mut at: SmallVec<[i32; 4]> = SmallVec::new();
    for index in indexes {
        match index {
            Index::At(node) => at.push(bound(node)?),
            Index::Slice(..) => {
                return Err(PgError::not_supported(
                    "assignment to a slice of several dimensions is not supported yet",
                )
                .hint("Assign the whole array."));
            }
        }
    }
    arrays::set_element(old, elem, &at, value)
}

/// `left op ANY (array)` and `left op ALL (array)`.
fn array_op(op: &Function, any: bool, left: Datum, array: &Datum, env: &EvalEnv) -> PgResult<Datum> {
    let Datum::Array(array) = array else { return Ok(Datum::Null) };
    if array.elements.is_empty() {
        return Ok(Datum::Bool(!any));
    }
    let mut unknown = false;
    let mut args = [left, Datum::Null];
    for element in &array.elements {
        args[1] = element.clone();
        match op.call(&args, env)? {
            Datum::Bool(value) if value == any => return Ok(Datum::Bool(any)),
            Datum::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!any) })
}

fn in_list(eq: &Function, left: Datum, list: &[Node], scope: &Scope<'_>) -> PgResult<Datum> {
    let mut unknown = false;
    let mut args = [left, Datum::Null];
    for item in list {
        args[1] = item.eval(scope)?;
        match eq.call(&args, scope.env)? {
            Datum::Bool(true) => return Ok(Datum::Bool(true)),
            Datum::Bool(false) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(false) })
}
