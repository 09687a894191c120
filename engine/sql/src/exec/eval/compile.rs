//! From [`Scalar`] to [`Node`], with constant parts computed.

use std::cmp::Ordering;

use shardforge_types::{Datum, Oid, PgError, PgResult, element_type, oid};

use super::NoRow;
use super::lists::{ValueSet, WORTH_HASHING};
use super::run::{Function, Index, IoCast, Node, Scope};
use crate::catalog::builtin::{Volatility, builtin};
use crate::exec::env::EvalEnv;
use crate::func::{self, CallInfo};
use crate::ir::{Call, ColId, Scalar, ScalarKind, SubscriptIndex, Ty};

type Resolve<'a> = &'a dyn Fn(ColId) -> Option<usize>;

pub(super) fn compile(scalar: &Scalar, resolve: Resolve<'_>) -> PgResult<Node> {
    let (node, pure) = build(scalar, resolve)?;
    Ok(if pure { fold(node) } else { node })
}

/// Computes a node without columns, parameters and side effects, unless that fails: then it fails when it is run.
fn fold(node: Node) -> Node {
    if matches!(node, Node::Const(_)) {
        return node;
    }
    let scope = Scope { row: &NoRow, params: &[], env: EvalEnv::detached(), element: None };
    match node.eval(&scope) {
        Ok(value) => Node::Const(value),
        Err(_) => node,
    }
}

/// Compiles children and remembers whether all of them are constants.
struct Children<'a> {
    resolve: Resolve<'a>,
    constant: bool,
}

impl Children<'_> {
    fn one(&mut self, scalar: &Scalar) -> PgResult<Node> {
        let node = compile(scalar, self.resolve)?;
        self.constant &= matches!(node, Node::Const(_));
        Ok(node)
    }

    fn boxed(&mut self, scalar: &Scalar) -> PgResult<Box<Node>> {
        self.one(scalar).map(Box::new)
    }

    fn indexes(&mut self, indexes: &[SubscriptIndex]) -> PgResult<Box<[Index]>> {
        let mut compiled = Vec::with_capacity(indexes.len());
        for index in indexes {
            compiled.push(match index {
                SubscriptIndex::Index(at) => Index::At(self.one(at)?),
                SubscriptIndex::Slice(lower, upper) => Index::Slice(
                    lower.as_ref().map(|lower| self.one(lower)).transpose()?,
                    upper.as_ref().map(|upper| self.one(upper)).transpose()?,
                ),
            });
        }
        Ok(compiled.into())
    }

    fn all(&mut self, scalars: &[Scalar]) -> PgResult<Box<[Node]>> {
        scalars.iter().map(|scalar| self.one(scalar)).collect()
    }
}

/// The node, and whether it may be folded.
fn build(scalar: &Scalar, resolve: Resolve<'_>) -> PgResult<(Node, bool)> {
    let mut children = Children { resolve, constant: true };
    let c = &mut children;
    let mut pure = true;
    let node = match &scalar.kind {
        ScalarKind::Column(ColId::ELEMENT) => return Ok((Node::Element, false)),
        ScalarKind::Column(id) => {
            let index =
                resolve(*id).ok_or_else(|| PgError::internal(format!("column {} has no place", id.0)))?;
            return Ok((Node::Column(index), false));
        }
        ScalarKind::Const(value) => return Ok((Node::Const(value.clone()), false)),
        ScalarKind::Param(index) => return Ok((Node::Param(usize::from(*index)), false)),
        ScalarKind::Call(call) => {
            let (function, volatility) = call_function(call, scalar.ty)?;
            pure = volatility == Volatility::Immutable;
            call_node(function, &call.args, c)?
        }
        ScalarKind::And(args) => Node::And(c.all(args)?),
        ScalarKind::Or(args) => Node::Or(c.all(args)?),
        ScalarKind::Not(arg) => Node::Not(c.boxed(arg)?),
        ScalarKind::IsNull { arg, negated } => Node::IsNull { arg: c.boxed(arg)?, negated: *negated },
        ScalarKind::BoolTest { arg, value, negated } => {
            Node::BoolTest { arg: c.boxed(arg)?, value: *value, negated: *negated }
        }
        ScalarKind::Distinct { eq, left, right, negated } => Node::Distinct {
            eq: operator(*eq, left.ty, right.ty)?,
            sides: Box::new((c.one(left)?, c.one(right)?)),
            negated: *negated,
        },
        ScalarKind::Case { whens, otherwise } => return case(whens, otherwise, c).map(|node| (node, false)),
        ScalarKind::Coalesce(args) => Node::Coalesce(c.all(args)?),
        ScalarKind::NullIf { eq, left, right } => Node::NullIf {
            eq: operator(*eq, left.ty, right.ty)?,
            sides: Box::new((c.one(left)?, c.one(right)?)),
        },
        ScalarKind::MinMax { greatest, args } => Node::MinMax {
            ty: scalar.ty.oid,
            wanted: if *greatest { Ordering::Greater } else { Ordering::Less },
            args: c.all(args)?,
        },
        ScalarKind::IoCast(arg) => {
            pure = has_fixed_text(arg.ty.oid) && has_fixed_text(scalar.ty.oid);
            Node::IoCast(Box::new(IoCast {
                arg: c.one(arg)?,
                source: arg.ty.oid,
                target: scalar.ty.oid,
                typmod: scalar.ty.typmod,
            }))
        }
        ScalarKind::Relabel(arg) => match (is_oid_like(arg.ty.oid), is_oid_like(scalar.ty.oid)) {
            (false, true) if arg.ty.oid == oid::INT4 => Node::IntToOid(c.boxed(arg)?),
            (true, false) if scalar.ty.oid == oid::INT4 => Node::OidToInt(c.boxed(arg)?),
            _ => return Ok((compile(arg, resolve)?, false)),
        },
        ScalarKind::ApplyTypmod { arg, explicit } => Node::ApplyTypmod {
            arg: c.boxed(arg)?,
            ty: scalar.ty.oid,
            typmod: scalar.ty.typmod,
            explicit: *explicit,
        },
        ScalarKind::ArrayMap { arg, elem } => {
            pure = false;
            Node::ArrayMap { arg: c.boxed(arg)?, elem: c.boxed(elem)?, elem_type: elem.ty.oid }
        }
        ScalarKind::Array { elems, nested } => Node::Array {
            elem_type: element_type(scalar.ty.oid)
                .or_else(|| elems.first().map(|elem| elem.ty.oid).filter(|_| !nested))
                .ok_or_else(|| PgError::internal("array constructor without element type"))?,
            elems: c.all(elems)?,
            nested: *nested,
        },
        ScalarKind::Subscript { arg, indexes } => {
            if arg.ty.oid == oid::JSONB {
                return Err(PgError::not_supported("subscripts of jsonb are not supported yet")
                    .hint("Use the -> operator."));
            }
            Node::Subscript { arg: c.boxed(arg)?, indexes: c.indexes(indexes)? }
        }
        ScalarKind::SubscriptSet { arg, indexes, value } => Node::SubscriptSet {
            elem_type: element_type(scalar.ty.oid)
                .ok_or_else(|| PgError::internal("an element is assigned to what is no array"))?,
            arg: c.boxed(arg)?,
            indexes: c.indexes(indexes)?,
            value: c.boxed(value)?,
        },
        ScalarKind::Row(fields) => {
            Node::Row { types: fields.iter().map(|field| field.ty.oid).collect(), fields: c.all(fields)? }
        }
        ScalarKind::Field { arg, index } => Node::Field { arg: c.boxed(arg)?, index: *index },
        ScalarKind::ArrayOp { func, any, left, array } => array_op(*func, *any, left, array, c)?,
        ScalarKind::InList { eq, left, list } => in_list(*eq, left, list, c)?,
        ScalarKind::Subquery(_) => {
            return Err(PgError::internal("a subquery reached the evaluation of scalar expressions"));
        }
    };
    let constant = children.constant;
    Ok((node, pure && constant))
}

/// CASE, without the branches that can be decided now. Branches are not folded away before their condition is
/// known, because `CASE WHEN false THEN 1/0 ...` must not fail; folding keeps failing parts as they are.
fn case(whens: &[(Scalar, Scalar)], otherwise: &Scalar, c: &mut Children<'_>) -> PgResult<Node> {
    let mut branches = Vec::with_capacity(whens.len());
    for (condition, result) in whens {
        match c.one(condition)? {
            Node::Const(Datum::Bool(true)) => {
                let decided = c.one(result)?;
                if branches.is_empty() {
                    return Ok(decided);
                }
                return Ok(Node::Case { whens: branches.into(), otherwise: Box::new(decided) });
            }
            Node::Const(_) => {}
            condition => branches.push((condition, c.one(result)?)),
        }
    }
    let otherwise = c.one(otherwise)?;
    if branches.is_empty() {
        return Ok(otherwise);
    }
    Ok(Node::Case { whens: branches.into(), otherwise: Box::new(otherwise) })
}

fn call_node(function: Function, args: &[Scalar], c: &mut Children<'_>) -> PgResult<Node> {
    Ok(match args {
        [] => Node::Call0(Box::new(function)),
        [arg] => Node::Call1(Box::new((function, c.one(arg)?))),
        [left, right] => Node::Call2(Box::new((function, c.one(left)?, c.one(right)?))),
        args => Node::Call(Box::new(function), c.all(args)?),
    })
}

fn call_function(call: &Call, ret: Ty) -> PgResult<(Function, Volatility)> {
    let found = lookup(call.func)?;
    let info = CallInfo {
        func: call.func,
        arg_types: call.args.iter().map(|arg| arg.ty).collect(),
        ret,
        variadic: call.variadic,
    };
    Ok((Function { kernel: found.kernel, strict: found.strict, info }, found.volatility))
}

/// A binary operator's function that yields a boolean.
fn operator(func: Oid, left: Ty, right: Ty) -> PgResult<Box<Function>> {
    let found = lookup(func)?;
    let info = CallInfo {
        func,
        arg_types: [left, right].into_iter().collect(),
        ret: Ty::new(oid::BOOL),
        variadic: false,
    };
    Ok(Box::new(Function { kernel: found.kernel, strict: found.strict, info }))
}

fn lookup(func: Oid) -> PgResult<&'static func::ScalarFunction> {
    func::scalar(func).ok_or_else(|| func::not_supported(func))
}

fn in_list(eq: Oid, left: &Scalar, list: &[Scalar], c: &mut Children<'_>) -> PgResult<Node> {
    let operand = c.one(left)?;
    let left_constant = c.constant;
    let mut items = Vec::with_capacity(list.len());
    for item in list {
        items.push(c.one(item)?);
    }
    let all_constant = items.iter().all(|item| matches!(item, Node::Const(_)));
    let item_type = list.first().map_or(left.ty, |item| item.ty);
    match hashable_type(eq) {
        Some(ty) if all_constant && items.len() >= WORTH_HASHING => {
            let values = items.into_iter().filter_map(|item| match item {
                Node::Const(value) => Some(value),
                _ => None,
            });
            c.constant = left_constant;
            Ok(Node::InSet { left: Box::new(operand), set: Box::new(ValueSet::new(ty, values)) })
        }
        _ => Ok(Node::InList {
            eq: operator(eq, left.ty, item_type)?,
            left: Box::new(operand),
            list: items.into(),
        }),
    }
}

fn array_op(func: Oid, any: bool, left: &Scalar, array: &Scalar, c: &mut Children<'_>) -> PgResult<Node> {
    let (operand, array_node) = (c.one(left)?, c.one(array)?);
    if let (true, Some(ty), Node::Const(Datum::Array(values))) = (any, hashable_type(func), &array_node)
        && values.elements.len() >= WORTH_HASHING
    {
        let set = ValueSet::new(ty, values.elements.iter().cloned());
        return Ok(Node::InSet { left: Box::new(operand), set: Box::new(set) });
    }
    let elem = element_type(array.ty.oid).unwrap_or(left.ty.oid);
    Ok(Node::ArrayOp {
        op: operator(func, left.ty, Ty::new(elem))?,
        any,
        sides: Box::new((operand, array_node)),
    })
}

/// The type of both operands, if the function is the `=` of that type: then hashing can stand for comparing.
fn hashable_type(func: Oid) -> Option<Oid> {
    let proc = builtin().proc_by_oid(func)?;
    let [left, right] = *proc.args else { return None };
    let operator = (left == right).then(|| builtin().operator_exact("=", left, right))??;
    (operator.code == func
        && operator.can_hash
        && !matches!(left, oid::ANYARRAY | oid::RECORD | oid::ANYENUM))
    .then_some(left)
}

fn is_oid_like(ty: Oid) -> bool {
    matches!(
        ty,
        oid::OID
            | oid::REGCLASS
            | oid::REGTYPE
            | oid::REGPROC
            | oid::REGPROCEDURE
            | oid::REGOPER
            | oid::REGOPERATOR
            | oid::REGNAMESPACE
            | oid::REGROLE
            | oid::REGCOLLATION
            | oid::REGCONFIG
            | oid::REGDICTIONARY
    )
}

/// Whether text input and output of a type are immutable: neither settings, nor the clock, nor the catalog matter.
fn has_fixed_text(ty: Oid) -> bool {
    let Some(desc) = builtin().type_by_oid(ty) else { return false };
    let immutable =
        |func: Oid| builtin().proc_by_oid(func).is_some_and(|p| p.volatility == Volatility::Immutable);
    immutable(desc.input) && immutable(desc.output)
}
