//! Polymorphic signatures: `anyelement`, `anyarray`, `anycompatible` and their kin (`parse_coerce.c`:
//! check_generic_type_consistency and enforce_generic_type_consistency).
//!
//! There are two families. In the first all arguments must agree exactly on what the pseudo-type stands for; in
//! the second (`anycompatible...`) they are brought to a common type.

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::coerce::{common_type_of, has_kind, is_polymorphic};
use super::types::{array_type, base_type, element_type, type_name};
use crate::catalog::builtin::{TypeKind, builtin};

/// What the pseudo-types of a call stand for, as far as it is known.
#[derive(Default)]
struct Solution {
    elem: Option<Oid>,
    array: Option<Oid>,
    range: Option<Oid>,
    multirange: Option<Oid>,
    compatible_range: Option<Oid>,
    compatible_multirange: Option<Oid>,
    /// Candidates for `anycompatible`.
    compatible: Vec<Oid>,
    want_nonarray: bool,
    want_enum: bool,
    want_compatible: bool,
    want_compatible_nonarray: bool,
}

fn range_subtype(range: Oid) -> Option<Oid> {
    builtin().ranges().iter().find(|r| r.range == range).map(|r| r.subtype)
}

fn multirange_range(multirange: Oid) -> Option<Oid> {
    builtin().ranges().iter().find(|r| r.multirange == multirange).map(|r| r.range)
}

fn range_multirange(range: Oid) -> Option<Oid> {
    builtin().ranges().iter().find(|r| r.range == range).map(|r| r.multirange)
}

/// Whether the actual types fit the declared ones (the non-polymorphic ones aside).
pub(super) fn is_consistent(cx: &BindContext<'_>, actual: &[Oid], declared: &[Oid]) -> bool {
    solve(cx, actual, declared).is_ok_and(|mut s| s.complete(cx).is_ok())
}

/// Determines what the declared types of a call stand for and writes it over them; returns the result's type.
pub(super) fn resolve(
    cx: &BindContext<'_>,
    actual: &[Oid],
    declared: &mut [Oid],
    result: Oid,
) -> PgResult<Oid> {
    if !declared.iter().any(|ty| is_polymorphic(*ty)) && !is_polymorphic(result) {
        return Ok(result);
    }
    let mut solution = solve(cx, actual, declared)?;
    let compatible = solution.complete(cx)?;
    let stands_for = |ty: Oid| -> PgResult<Oid> {
        let missing =
            || mismatch("could not determine polymorphic type because input has type unknown".into());
        match ty {
            oid::ANYELEMENT | oid::ANYNONARRAY | oid::ANYENUM => solution.elem.ok_or_else(missing),
            oid::ANYARRAY => match (solution.array, solution.elem) {
                (Some(array), _) => Ok(array),
                (None, Some(elem)) => array_type(cx, elem).ok_or_else(|| {
                    let message = format!("could not find array type for data type {}", type_name(cx, elem));
                    PgError::new(SqlState::UNDEFINED_OBJECT, message)
                }),
                (None, None) => Err(missing()),
            },
            oid::ANYRANGE => solution.range.ok_or_else(missing),
            oid::ANYMULTIRANGE => {
                solution.multirange.or_else(|| range_multirange(solution.range?)).ok_or_else(missing)
            }
            oid::ANYCOMPATIBLE | oid::ANYCOMPATIBLENONARRAY => compatible.ok_or_else(missing),
            oid::ANYCOMPATIBLEARRAY => compatible.and_then(|ty| array_type(cx, ty)).ok_or_else(missing),
            oid::ANYCOMPATIBLERANGE => solution.compatible_range.ok_or_else(missing),
            oid::ANYCOMPATIBLEMULTIRANGE => solution
                .compatible_multirange
                .or_else(|| range_multirange(solution.compatible_range?))
                .ok_or_else(missing),
            other => Ok(other),
        }
    };
    for (declared, actual) in declared.iter_mut().zip(actual) {
        // An argument that is already an array keeps its own type (oidvector, say).
        if *declared == oid::ANYARRAY
            && *actual != oid::UNKNOWN
            && element_type(cx, base_type(*actual)).is_some()
        {
            *declared = base_type(*actual);
        } else {
            *declared = stands_for(*declared)?;
        }
    }
    stands_for(result)
}

fn mismatch(message: String) -> PgError {
    PgError::new(SqlState::DATATYPE_MISMATCH, message)
}

/// Collects what the arguments say; an error if they contradict each other.
fn solve(cx: &BindContext<'_>, actual: &[Oid], declared: &[Oid]) -> PgResult<Solution> {
    let mut s = Solution::default();
    for (&actual, &declared) in actual.iter().zip(declared) {
        let unknown = actual == oid::UNKNOWN;
        match declared {
            oid::ANYELEMENT | oid::ANYNONARRAY | oid::ANYENUM => {
                s.want_nonarray |= declared == oid::ANYNONARRAY;
                s.want_enum |= declared == oid::ANYENUM;
                if !unknown {
                    agree(cx, &mut s.elem, actual, "anyelement")?;
                }
            }
            oid::ANYARRAY => {
                if !unknown {
                    agree(cx, &mut s.array, base_type(actual), "anyarray")?;
                }
            }
            oid::ANYRANGE => {
                if !unknown {
                    agree(cx, &mut s.range, base_type(actual), "anyrange")?;
                }
            }
            oid::ANYMULTIRANGE => {
                if !unknown {
                    agree(cx, &mut s.multirange, base_type(actual), "anymultirange")?;
                }
            }
            oid::ANYCOMPATIBLE | oid::ANYCOMPATIBLENONARRAY => {
                s.want_compatible = true;
                s.want_compatible_nonarray |= declared == oid::ANYCOMPATIBLENONARRAY;
                if !unknown {
                    s.compatible.push(actual);
                }
            }
            oid::ANYCOMPATIBLEARRAY => {
                s.want_compatible = true;
                if !unknown {
                    s.compatible.push(array_element(cx, base_type(actual), "anycompatiblearray")?);
                }
            }
            oid::ANYCOMPATIBLERANGE => {
                s.want_compatible = true;
                if !unknown {
                    agree(cx, &mut s.compatible_range, base_type(actual), "anycompatiblerange")?;
                    s.compatible.push(range_element(cx, base_type(actual), "anycompatiblerange")?);
                }
            }
            oid::ANYCOMPATIBLEMULTIRANGE => {
                s.want_compatible = true;
                if !unknown {
                    agree(cx, &mut s.compatible_multirange, base_type(actual), "anycompatiblemultirange")?;
                    let range = multirange_range(base_type(actual))
                        .ok_or_else(|| not_a(cx, "anycompatiblemultirange", "a multirange type", actual))?;
                    s.compatible.push(range_element(cx, range, "anycompatiblemultirange")?);
                }
            }
            _ => {}
        }
    }
    Ok(s)
}

fn agree(cx: &BindContext<'_>, known: &mut Option<Oid>, actual: Oid, declared: &str) -> PgResult<()> {
    match *known {
        Some(other) if other != actual => Err(mismatch(format!(
            "arguments declared \"{declared}\" are not all alike"
        ))
        .detail(format!("{} versus {}", type_name(cx, other), type_name(cx, actual)))),
        _ => {
            *known = Some(actual);
            Ok(())
        }
    }
}

fn not_a(cx: &BindContext<'_>, declared: &str, what: &str, actual: Oid) -> PgError {
    mismatch(format!("argument declared {declared} is not {what} but type {}", type_name(cx, actual)))
}

fn array_element(cx: &BindContext<'_>, array: Oid, declared: &str) -> PgResult<Oid> {
    element_type(cx, array).ok_or_else(|| not_a(cx, declared, "an array", array))
}

fn range_element(cx: &BindContext<'_>, range: Oid, declared: &str) -> PgResult<Oid> {
    range_subtype(range).ok_or_else(|| not_a(cx, declared, "a range type", range))
}

impl Solution {
    /// Derives the element type from arrays and ranges, checks what is left and returns what `anycompatible` is.
    fn complete(&mut self, cx: &BindContext<'_>) -> PgResult<Option<Oid>> {
        if let Some(array) = self.array
            && array != oid::ANYARRAY
        {
            let elem = array_element(cx, array, "anyarray")?;
            self.derive_elem(cx, elem, "anyarray", "anyelement")?;
        }
        if let Some(multirange) = self.multirange {
            let range = multirange_range(multirange)
                .ok_or_else(|| not_a(cx, "anymultirange", "a multirange type", multirange))?;
            if self.range.is_some_and(|known| known != range) {
                return Err(mismatch(
                    "argument declared anymultirange is not consistent with argument declared anyrange"
                        .into(),
                ));
            }
            self.range = Some(range);
        }
        if let Some(range) = self.range {
            let elem = range_element(cx, range, "anyrange")?;
            self.derive_elem(cx, elem, "anyrange", "anyelement")?;
        }
        if let Some(elem) = self.elem {
            if self.want_nonarray && element_type(cx, base_type(elem)).is_some() {
                let message =
                    format!("type matched to anynonarray is an array type: {}", type_name(cx, elem));
                return Err(mismatch(message));
            }
            if self.want_enum && !has_kind(cx, elem, TypeKind::Enum) {
                return Err(mismatch(format!(
                    "type matched to anyenum is not an enum type: {}",
                    type_name(cx, elem)
                )));
            }
        }
        if !self.want_compatible {
            return Ok(None);
        }
        let common =
            if self.compatible.is_empty() { Some(oid::TEXT) } else { common_type_of(cx, &self.compatible) };
        let common = common.ok_or_else(|| {
            mismatch("arguments of anycompatible family cannot be cast to a common type".into())
        })?;
        if self.want_compatible_nonarray && element_type(cx, base_type(common)).is_some() {
            let message =
                format!("type matched to anycompatiblenonarray is an array type: {}", type_name(cx, common));
            return Err(mismatch(message));
        }
        Ok(Some(common))
    }

    fn derive_elem(&mut self, cx: &BindContext<'_>, elem: Oid, from: &str, to: &str) -> PgResult<()> {
        match self.elem {
            Some(known) if known != elem => Err(mismatch(format!(
                "argument declared {from} is not consistent with argument declared {to}"
            ))
            .detail(format!("{} versus {}", type_name(cx, elem), type_name(cx, known)))),
            _ => {
                self.elem = Some(elem);
                Ok(())
            }
        }
    }
}
