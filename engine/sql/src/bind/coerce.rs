//! Conversions between types: the rules of `parse_coerce.c`.
//!
//! A conversion is looked for in three contexts, each allowing more than the one before: *implicit* (anywhere in
//! an expression), *assignment* (to a column), *explicit* (a written cast). What is found is one of: nothing to do,
//! a function of pg_cast, the text form of one type read as the other, or an array converted element by element.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::binder::{AtMaybe, Binder};
use super::types::{self, CATEGORY_STRING, base_type, category, element_type, type_name};
use crate::catalog::builtin::{CastContext, CastMethod, TypeKind, builtin};
use crate::ir::{ColId, Scalar, ScalarKind, Ty};

/// How a value of one type becomes one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pathway {
    /// The value stays as it is.
    Relabel,
    /// By a function of pg_cast.
    Function(Oid),
    /// Element by element.
    Array,
    /// Through text.
    Io,
}

/// Whether a type stands for other types in a function's signature.
pub(super) fn is_polymorphic(ty: Oid) -> bool {
    is_polymorphic_family1(ty) || is_polymorphic_family2(ty)
}

/// `anyelement` and its kin.
pub(super) fn is_polymorphic_family1(ty: Oid) -> bool {
    matches!(
        ty,
        oid::ANYELEMENT
            | oid::ANYARRAY
            | oid::ANYNONARRAY
            | oid::ANYENUM
            | oid::ANYRANGE
            | oid::ANYMULTIRANGE
    )
}

/// `anycompatible` and its kin.
pub(super) fn is_polymorphic_family2(ty: Oid) -> bool {
    matches!(
        ty,
        oid::ANYCOMPATIBLE
            | oid::ANYCOMPATIBLEARRAY
            | oid::ANYCOMPATIBLENONARRAY
            | oid::ANYCOMPATIBLERANGE
            | oid::ANYCOMPATIBLEMULTIRANGE
    )
}

/// The way from one type to another in a context, if there is one (`find_coercion_pathway`).
pub(super) fn find_pathway(
    cx: &BindContext<'_>,
    target: Oid,
    source: Oid,
    context: CastContext,
) -> Option<Pathway> {
    let source = base_type(source);
    let target = base_type(target);
    if source == target {
        return Some(Pathway::Relabel);
    }
    if let Some(cast) = builtin().cast(source, target) {
        if context < cast.context {
            return None;
        }
        return Some(match cast.method {
            CastMethod::Function => Pathway::Function(cast.func),
            CastMethod::Binary => Pathway::Relabel,
            CastMethod::InOut => Pathway::Io,
        });
    }
    // Arrays convert as their elements do; oidvector and int2vector are no targets of that.
    if target != oid::OIDVECTOR
        && target != oid::INT2VECTOR
        && let Some(target_elem) = element_type(cx, target)
        && let Some(source_elem) = element_type(cx, source)
        && let Some(path) = find_pathway(cx, target_elem, source_elem, context)
    {
        return Some(if path == Pathway::Relabel { Pathway::Relabel } else { Pathway::Array });
    }
    // Anything can be assigned to a string; an explicit cast makes anything of a string.
    if context >= CastContext::Assignment && category(target).0 == CATEGORY_STRING {
        return Some(Pathway::Io);
    }
    if context >= CastContext::Explicit && category(source).0 == CATEGORY_STRING {
        return Some(Pathway::Io);
    }
    None
}

/// Whether arguments of these types can be passed where those are wanted (`can_coerce_type`).
pub(super) fn can_coerce(
    cx: &BindContext<'_>,
    inputs: &[Oid],
    targets: &[Oid],
    context: CastContext,
) -> bool {
    let mut polymorphic = false;
    for (&input, &target) in inputs.iter().zip(targets) {
        if input == target || target == oid::ANY {
            continue;
        }
        if is_polymorphic(target) {
            polymorphic = true;
            continue;
        }
        if input == oid::UNKNOWN || find_pathway(cx, target, input, context).is_some() {
            continue;
        }
        let records = (input == oid::RECORD && types::is_composite(cx, target))
            || (target == oid::RECORD && types::is_composite(cx, input))
            || (target == oid::RECORD_ARRAY
                && element_type(cx, input).is_some_and(|elem| types::is_composite(cx, elem)));
        if !records {
            return false;
        }
    }
    !polymorphic || super::polymorphic::is_consistent(cx, inputs, targets)
}

/// Whether one type converts to another in a context.
pub(super) fn can_coerce_one(cx: &BindContext<'_>, input: Oid, target: Oid, context: CastContext) -> bool {
    can_coerce(cx, &[input], &[target], context)
}

impl Binder<'_> {
    /// Converts an expression to a type with its modifier, or returns it if there is no way
    /// (`coerce_to_target_type`).
    pub fn coerce_to_target(
        &mut self,
        expr: Scalar,
        target: Ty,
        context: CastContext,
    ) -> PgResult<Result<Scalar, Scalar>> {
        if !can_coerce_one(self.cx, expr.ty.oid, target.oid, context) {
            return Ok(Err(expr));
        }
        let pos = expr.pos;
        let result = self.coerce_type(expr, target.oid, target.typmod, context)?;
        let mut result = self.coerce_typmod(result, target, context);
        result.pos = result.pos.or(pos);
        Ok(Ok(result))
    }

    /// Converts an expression to a type that it is known to convert to (`coerce_type`). `typmod` matters for
    /// literals of type interval alone.
    pub fn coerce_type(
        &mut self,
        expr: Scalar,
        target: Oid,
        typmod: i32,
        context: CastContext,
    ) -> PgResult<Scalar> {
        let source = expr.ty.oid;
        if source == target {
            return Ok(expr);
        }
        match target {
            oid::ANY
            | oid::ANYELEMENT
            | oid::ANYNONARRAY
            | oid::ANYCOMPATIBLE
            | oid::ANYCOMPATIBLENONARRAY => {
                return Ok(expr);
            }
            oid::ANYARRAY
            | oid::ANYENUM
            | oid::ANYRANGE
            | oid::ANYMULTIRANGE
            | oid::ANYCOMPATIBLEARRAY
            | oid::ANYCOMPATIBLERANGE
            | oid::ANYCOMPATIBLEMULTIRANGE
                if source != oid::UNKNOWN =>
            {
                let base = base_type(source);
                return Ok(if base == source { expr } else { relabel(expr, Ty::new(base)) });
            }
            _ => {}
        }
        if source == oid::UNKNOWN {
            match expr.kind {
                ScalarKind::Const(value) => return self.read_literal(value, target, typmod, expr.pos),
                ScalarKind::Param(number) => {
                    return self.coerce_unknown_param(number, target, expr.pos);
                }
                _ => {}
            }
        }
        if let Some(path) = find_pathway(self.cx, target, source, context) {
            return Ok(self.apply_pathway(expr, path, target, context));
        }
        if source == oid::RECORD && types::is_composite(self.cx, target) {
            return self.record_to_composite(expr, target, context);
        }
        if matches!(target, oid::RECORD | oid::RECORD_ARRAY) {
            return Ok(relabel(expr, Ty::new(target)));
        }
        if source == oid::UNKNOWN {
            // An unknown column of a subquery: it is text in all but name.
            return Ok(Scalar {
                pos: expr.pos,
                ty: Ty::new(target),
                kind: ScalarKind::IoCast(Box::new(expr)),
            });
        }
        Err(PgError::internal(format!("no conversion from type {source} to {target}")).at_maybe(expr.pos))
    }

    /// A parameter of a domain is sent as the type below it.
    fn coerce_unknown_param(&mut self, number: u16, target: Oid, pos: Option<u32>) -> PgResult<Scalar> {
        let base = base_type(target);
        let param = self.coerce_param(number, base, pos)?;
        Ok(if base == target { param } else { relabel(param, Ty::new(target)) })
    }

    fn apply_pathway(&mut self, expr: Scalar, path: Pathway, target: Oid, context: CastContext) -> Scalar {
        let pos = expr.pos;
        let base = base_type(target);
        let mut result = match path {
            // A literal NULL of a known type needs no work either.
            Pathway::Relabel if expr.ty.oid == target => return expr,
            Pathway::Relabel => relabel(expr, Ty::new(target)),
            Pathway::Function(func) => {
                let args = cast_args(func, expr, -1, context == CastContext::Explicit);
                Scalar::call(func, args, Ty::new(base))
            }
            Pathway::Io => Scalar { kind: ScalarKind::IoCast(Box::new(expr)), ty: Ty::new(base), pos },
            Pathway::Array => self.array_coercion(expr, base, -1, context),
        };
        result.pos = pos;
        if result.ty.oid == target { result } else { relabel(result, Ty::new(target)) }
    }

    /// An array converted element by element.
    fn array_coercion(&mut self, expr: Scalar, target: Oid, typmod: i32, context: CastContext) -> Scalar {
        let (Some(source_elem), Some(target_elem)) =
            (element_type(self.cx, base_type(expr.ty.oid)), element_type(self.cx, target))
        else {
            return relabel(expr, Ty::new(target));
        };
        let element = Scalar::column(ColId::ELEMENT, Ty { typmod: expr.ty.typmod, ..Ty::new(source_elem) });
        let elem = match find_pathway(self.cx, target_elem, source_elem, context) {
            Some(path) => self.apply_pathway(element, path, target_elem, context),
            None => element,
        };
        let elem = self.coerce_typmod(elem, Ty::new(target_elem).with_typmod(typmod), context);
        let pos = expr.pos;
        let kind = ScalarKind::ArrayMap { arg: Box::new(expr), elem: Box::new(elem) };
        Scalar { kind, ty: Ty::new(target).with_typmod(typmod), pos }
    }

    /// Applies a type's modifier to a value of the type (`coerce_type_typmod`).
    pub fn coerce_typmod(&mut self, expr: Scalar, target: Ty, context: CastContext) -> Scalar {
        if target.typmod < 0 || expr.ty.typmod == target.typmod {
            return expr;
        }
        let base = base_type(target.oid);
        let explicit = context == CastContext::Explicit;
        let pos = expr.pos;
        if builtin().cast(base, base).is_some_and(|cast| cast.func.is_valid()) {
            let ty = Ty { typmod: target.typmod, ..expr.ty };
            return Scalar { kind: ScalarKind::ApplyTypmod { arg: Box::new(expr), explicit }, ty, pos };
        }
        if element_type(self.cx, base).is_some() {
            return self.array_coercion(expr, base, target.typmod, context);
        }
        Scalar { ty: Ty { typmod: target.typmod, ..expr.ty }, ..expr }
    }

    /// ROW(...) or a composite value as another row type, field by field.
    fn record_to_composite(&mut self, expr: Scalar, target: Oid, context: CastContext) -> PgResult<Scalar> {
        let pos = expr.pos;
        let cannot = |binder: &Self, detail: String| {
            let message = format!("cannot cast type record to {}", type_name(binder.cx, target));
            PgError::new(SqlState::CANNOT_COERCE, message).detail(detail).at_maybe(pos)
        };
        let fields = types::composite_fields(self.cx, target).unwrap_or_default();
        let ScalarKind::Row(values) = expr.kind else {
            return Err(cannot(self, "Input is not a row constructor.".into()));
        };
        if values.len() != fields.len() {
            let few = if values.len() < fields.len() { "few" } else { "many" };
            return Err(cannot(self, format!("Input has too {few} columns.")));
        }
        let mut converted = Vec::with_capacity(values.len());
        for (i, (value, (_, ty))) in values.into_iter().zip(fields).enumerate() {
            let source = value.ty.oid;
            match self.coerce_to_target(value, ty, context)? {
                Ok(value) => converted.push(value),
                Err(_) => {
                    let detail = format!(
                        "Cannot cast type {} to {} in column {}.",
                        type_name(self.cx, source),
                        type_name(self.cx, ty.oid),
                        i + 1
                    );
                    return Err(cannot(self, detail));
                }
            }
        }
        Ok(Scalar { kind: ScalarKind::Row(converted), ty: Ty::new(target), pos })
    }

    /// The error for a cast that is not possible.
    pub fn cannot_cast(&self, source: Oid, target: Oid, pos: Option<u32>) -> PgError {
        let message =
            format!("cannot cast type {} to {}", type_name(self.cx, source), type_name(self.cx, target));
        PgError::new(SqlState::CANNOT_COERCE, message).at_maybe(pos)
    }

    /// Converts an argument of a construct that wants a boolean.
    pub fn coerce_to_boolean(&mut self, expr: Scalar, construct: &str) -> PgResult<Scalar> {
        self.coerce_to_specific(expr, oid::BOOL, construct)
    }

    /// Converts an argument of a construct that wants one type, by assignment casts
    /// (`coerce_to_specific_type`).
    pub fn coerce_to_specific(&mut self, expr: Scalar, target: Oid, construct: &str) -> PgResult<Scalar> {
        if expr.ty.oid == target {
            return Ok(expr);
        }
        let (source, pos) = (expr.ty.oid, expr.pos);
        match self.coerce_to_target(expr, Ty::new(target), CastContext::Assignment)? {
            Ok(expr) => Ok(expr),
            Err(_) => {
                let message = format!(
                    "argument of {construct} must be type {}, not type {}",
                    type_name(self.cx, target),
                    type_name(self.cx, source)
                );
                Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at_maybe(pos))
            }
        }
    }

    /// The type that all expressions of a construct are converted to (`select_common_type`).
    pub fn select_common_type(&self, exprs: &[Scalar], context: &str) -> PgResult<Oid> {
        let inputs: Vec<(Oid, Option<u32>)> = exprs.iter().map(|e| (e.ty.oid, e.pos)).collect();
        common_type(self.cx, &inputs, context)
    }

    /// Converts one expression of a construct to their common type (`coerce_to_common_type`).
    pub fn coerce_to_common(&mut self, expr: Scalar, target: Oid, context: &str) -> PgResult<Scalar> {
        if expr.ty.oid == target {
            return Ok(expr);
        }
        let (source, pos) = (expr.ty.oid, expr.pos);
        if !can_coerce_one(self.cx, source, target, CastContext::Implicit) {
            let message = format!(
                "{context} could not convert type {} to {}",
                type_name(self.cx, source),
                type_name(self.cx, target)
            );
            return Err(PgError::new(SqlState::CANNOT_COERCE, message).at_maybe(pos));
        }
        self.coerce_type(expr, target, -1, CastContext::Implicit)
    }

    /// Finds the common type of some expressions and converts them all. The modifier survives if they agree on it.
    pub fn unify(&mut self, exprs: Vec<Scalar>, context: &str) -> PgResult<(Vec<Scalar>, Ty)> {
        let common = self.select_common_type(&exprs, context)?;
        let typmod = common_typmod(exprs.iter().map(|e| e.ty), common);
        let mut unified = Vec::with_capacity(exprs.len());
        for expr in exprs {
            unified.push(self.coerce_to_common(expr, common, context)?);
        }
        Ok((unified, Ty::new(common).with_typmod(typmod)))
    }
}

/// See [`Binder::select_common_type`].
pub(super) fn common_type(
    cx: &BindContext<'_>,
    inputs: &[(Oid, Option<u32>)],
    context: &str,
) -> PgResult<Oid> {
    let Some(&(first, _)) = inputs.first() else { return Ok(oid::TEXT) };
    if first != oid::UNKNOWN && inputs.iter().all(|(ty, _)| *ty == first) {
        return Ok(first);
    }
    let mut chosen = base_type(first);
    let (mut chosen_category, mut chosen_preferred) = category(chosen);
    for &(ty, pos) in &inputs[1..] {
        let ty = base_type(ty);
        if ty == oid::UNKNOWN || ty == chosen {
            continue;
        }
        let (category, preferred) = category(ty);
        if chosen == oid::UNKNOWN {
            (chosen, chosen_category, chosen_preferred) = (ty, category, preferred);
        } else if category != chosen_category {
            let message = format!(
                "{context} types {} and {} cannot be matched",
                type_name(cx, chosen),
                type_name(cx, ty)
            );
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at_maybe(pos));
        } else if !chosen_preferred
            && can_coerce_one(cx, chosen, ty, CastContext::Implicit)
            && !can_coerce_one(cx, ty, chosen, CastContext::Implicit)
        {
            (chosen, chosen_category, chosen_preferred) = (ty, category, preferred);
        }
    }
    Ok(if chosen == oid::UNKNOWN { oid::TEXT } else { chosen })
}

/// As [`common_type`], but without an error: `None` if the types do not go together
/// (`select_common_type_from_oids` with noerror).
pub(super) fn common_type_of(cx: &BindContext<'_>, inputs: &[Oid]) -> Option<Oid> {
    let inputs: Vec<_> = inputs.iter().map(|ty| (*ty, None)).collect();
    common_type(cx, &inputs, "").ok()
}

/// The modifier that inputs of one type agree on (`select_common_typmod`).
pub(super) fn common_typmod(mut inputs: impl Iterator<Item = Ty>, common: Oid) -> i32 {
    let Some(first) = inputs.next() else { return -1 };
    let agree = first.oid == common && inputs.all(|ty| ty.oid == common && ty.typmod == first.typmod);
    if agree { first.typmod } else { -1 }
}

/// The value seen as another type.
pub(super) fn relabel(expr: Scalar, ty: Ty) -> Scalar {
    let pos = expr.pos;
    match expr.kind {
        // A constant is simply of the other type; integers and oids are kept differently.
        ScalarKind::Const(value) => {
            use shardforge_types::io::is_oid_like;
            let value = match value {
                Datum::Int4(v) if is_oid_like(ty.oid) => Datum::Oid(v.cast_unsigned()),
                Datum::Oid(v) if ty.oid == oid::INT4 => Datum::Int4(v.cast_signed()),
                value => value,
            };
            Scalar { kind: ScalarKind::Const(value), ty, pos }
        }
        kind => {
            let arg = Scalar { kind, ..expr };
            Scalar { kind: ScalarKind::Relabel(Box::new(arg)), ty, pos }
        }
    }
}

/// The arguments of a cast function: the value and, if it takes them, the modifier and whether the cast is explicit.
fn cast_args(func: Oid, expr: Scalar, typmod: i32, explicit: bool) -> Vec<Scalar> {
    let count = builtin().proc_by_oid(func).map_or(1, |proc| proc.args.len());
    let mut args = Vec::with_capacity(count);
    args.push(expr);
    if count > 1 {
        args.push(Scalar::constant(Datum::Int4(typmod), Ty::new(oid::INT4)));
    }
    if count > 2 {
        args.push(Scalar::bool(explicit));
    }
    args
}

/// Whether a type is an enum or range of some kind: polymorphic arguments ask.
pub(super) fn has_kind(cx: &BindContext<'_>, ty: Oid, kind: TypeKind) -> bool {
    types::kind(cx, ty) == kind
}
