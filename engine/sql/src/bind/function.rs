//! Which overload a call means: the rules of `parse_func.c` that operators share.
//!
//! Candidates are the functions of the name that can take as many arguments: as they stand, with a VARIADIC
//! parameter expanded, or with defaults filled in. An exact match of types wins; else the candidates that the
//! arguments convert to implicitly are narrowed step by step ([`select_candidate`]).

use shardforge_types::{Oid, oid};

use super::BindContext;
use super::coerce::{Pathway, can_coerce, find_pathway};
use super::relation::find_schema;
use super::types::{
    CATEGORY_STRING, CATEGORY_UNKNOWN, base_type, category, is_rowtype, lookup_type, type_schemas,
};
use crate::catalog::builtin::{ArgMode, CastContext, ProcDesc, ProcKind, builtin};
use crate::ir::Scalar;
use crate::parse::ast;

/// A function that could be meant.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub proc: &'static ProcDesc,
    /// The parameter types, one for each argument of the call plus those that defaults fill.
    pub args: Vec<Oid>,
    /// For each of `args` the argument of the call that goes there; `None`: the default.
    pub arg_numbers: Option<Vec<Option<usize>>>,
    /// How many trailing arguments a VARIADIC parameter takes; 0: not expanded.
    pub variadic_count: usize,
    /// How many defaults are needed.
    pub default_count: usize,
}

/// What a call was found to mean.
#[derive(Clone, Debug)]
pub(super) enum Resolution {
    /// A function.
    Function(Candidate),
    /// `type(x)`: a cast.
    Coercion(Oid),
    /// More than one candidate is as good as another.
    Ambiguous,
    /// None.
    NotFound,
}

/// Which functions a name means, and which arguments they must take.
pub(super) struct Lookup<'a> {
    pub names: &'a ast::Names,
    pub arg_types: &'a [Oid],
    pub arg_names: &'a [ast::Name],
    /// VARIADIC parameters may be expanded: the call was written without VARIADIC.
    pub expand_variadic: bool,
}

/// Finds out what a call means (`func_get_detail`). `first` is the only argument, if there is one: casts written as
/// calls ask whether it is a literal.
pub(super) fn resolve(cx: &BindContext<'_>, lookup: &Lookup<'_>, first: Option<&Scalar>) -> Resolution {
    let mut candidates = candidates(cx, lookup);
    if let Some(exact) = exact_match(&candidates, lookup.arg_types) {
        return Resolution::Function(candidates.swap_remove(exact));
    }
    if let Some(target) = first.and_then(|arg| cast_call(cx, lookup, arg)) {
        return Resolution::Coercion(target);
    }
    let matching = match_arg_types(cx, candidates, lookup.arg_types, |c| &c.args);
    match matching.len() {
        0 => Resolution::NotFound,
        1 => matching.into_iter().next().map_or(Resolution::NotFound, Resolution::Function),
        _ => match select_candidate(cx, lookup.arg_types, matching, |c| &c.args) {
            Some(candidate) => Resolution::Function(candidate),
            None => Resolution::Ambiguous,
        },
    }
}

/// `type(x)` for a single argument that is a literal, or that converts without a function or through text.
fn cast_call(cx: &BindContext<'_>, lookup: &Lookup<'_>, arg: &Scalar) -> Option<Oid> {
    if lookup.arg_types.len() != 1 || !lookup.arg_names.is_empty() {
        return None;
    }
    let names: Vec<&str> = lookup.names.iter().map(|n| &**n).collect();
    let target = lookup_type(cx, &names).ok().flatten()?;
    let source = lookup.arg_types[0];
    if source == oid::UNKNOWN && matches!(arg.kind, crate::ir::ScalarKind::Const(_)) {
        return Some(target);
    }
    match find_pathway(cx, target, source, CastContext::Explicit)? {
        Pathway::Relabel => Some(target),
        Pathway::Io => {
            let row_as_text = is_rowtype(cx, source) && category(target).0 == CATEGORY_STRING;
            (!row_as_text).then_some(target)
        }
        Pathway::Function(_) | Pathway::Array => None,
    }
}

fn exact_match(candidates: &[Candidate], args: &[Oid]) -> Option<usize> {
    candidates.iter().position(|c| c.args.starts_with(args))
}

/// The functions of the name that can take as many arguments (`FuncnameGetCandidates`).
fn candidates(cx: &BindContext<'_>, lookup: &Lookup<'_>) -> Vec<Candidate> {
    let (schema, name) = match &lookup.names[..] {
        [name] => (None, name),
        [.., schema, name] => match find_schema(cx, schema) {
            Some(schema) => (Some(schema), name),
            None => return Vec::new(),
        },
        [] => return Vec::new(),
    };
    let mut found: Vec<Candidate> = Vec::new();
    for proc in builtin().procs_by_name(name) {
        let visible = match schema {
            Some(schema) => proc.namespace == schema,
            None => type_schemas(cx).any(|schema| schema == proc.namespace),
        };
        if !visible {
            continue;
        }
        let Some(candidate) = candidate(proc, lookup) else { continue };
        // Of two candidates with the same effective types the one without VARIADIC and defaults is meant.
        match found.iter_mut().find(|other| other.args == candidate.args && candidate.arg_numbers.is_none()) {
            None => found.push(candidate),
            Some(other) => {
                let weight = |c: &Candidate| (c.default_count, c.variadic_count);
                if weight(&candidate) < weight(other) {
                    *other = candidate;
                }
            }
        }
    }
    found
}

fn candidate(proc: &'static ProcDesc, lookup: &Lookup<'_>) -> Option<Candidate> {
    let given = lookup.arg_types.len();
    let declared = proc.args.len();
    let defaults = usize::from(proc.ndefaults);
    if !lookup.arg_names.is_empty() {
        return named_candidate(proc, lookup);
    }
    let plain = |args: Vec<Oid>, variadic_count: usize, default_count: usize| Candidate {
        proc,
        args,
        arg_numbers: None,
        variadic_count,
        default_count,
    };
    if given == declared && (proc.variadic.0 == 0 || !lookup.expand_variadic || proc.variadic == oid::ANY) {
        let variadic = usize::from(proc.variadic == oid::ANY && lookup.expand_variadic);
        return Some(plain(proc.args.to_vec(), variadic, 0));
    }
    if proc.variadic.0 != 0 && lookup.expand_variadic && given + 1 > declared {
        let fixed = declared - 1;
        let extra = given - fixed;
        if extra == 0 {
            return None;
        }
        let mut args = proc.args[..fixed].to_vec();
        args.extend(std::iter::repeat_n(proc.variadic, extra));
        return Some(plain(args, extra, 0));
    }
    if given < declared && given + defaults >= declared && proc.variadic.0 == 0 {
        return Some(plain(proc.args.to_vec(), 0, declared - given));
    }
    None
}

/// A candidate for a call with `name => value` arguments (`MatchNamedCall`).
fn named_candidate(proc: &'static ProcDesc, lookup: &Lookup<'_>) -> Option<Candidate> {
    if proc.variadic.0 != 0 && lookup.expand_variadic {
        return None;
    }
    let given = lookup.arg_types.len();
    let declared = proc.args.len();
    if given > declared || given + usize::from(proc.ndefaults) < declared {
        return None;
    }
    let params = proc.params();
    let inputs: Vec<&str> = params
        .iter()
        .filter(|p| matches!(p.mode, ArgMode::In | ArgMode::InOut | ArgMode::Variadic))
        .map(|p| p.name.as_str())
        .collect();
    let positional = given - lookup.arg_names.len();
    let mut places: Vec<Option<usize>> = vec![None; declared];
    for (number, place) in places.iter_mut().enumerate().take(positional) {
        *place = Some(number);
    }
    for (i, name) in lookup.arg_names.iter().enumerate() {
        let place = inputs.iter().position(|input| *input == &**name)?;
        if places[place].is_some() {
            return None;
        }
        places[place] = Some(positional + i);
    }
    let first_default = declared - usize::from(proc.ndefaults);
    if places.iter().enumerate().any(|(i, place)| place.is_none() && i < first_default) {
        return None;
    }
    // The types in the order of the call, then those of the defaults.
    let mut args = vec![oid::UNKNOWN; given];
    let mut default_types = Vec::new();
    for (place, number) in places.iter().enumerate() {
        match number {
            Some(number) => args[*number] = proc.args[place],
            None => default_types.push(proc.args[place]),
        }
    }
    let default_count = default_types.len();
    args.extend(default_types);
    Some(Candidate { proc, args, arg_numbers: Some(places), variadic_count: 0, default_count })
}

/// Keeps the candidates that the arguments convert to implicitly (`func_match_argtypes`).
pub(super) fn match_arg_types<T>(
    cx: &BindContext<'_>,
    candidates: Vec<T>,
    inputs: &[Oid],
    args: impl Fn(&T) -> &[Oid],
) -> Vec<T> {
    candidates
        .into_iter()
        .filter(|c| {
            let wanted = &args(c)[..inputs.len().min(args(c).len())];
            can_coerce(cx, inputs, wanted, CastContext::Implicit)
        })
        .collect()
}

/// Keeps the candidates with the greatest score, if any scores at all.
fn keep_best<T>(candidates: Vec<T>, score: impl Fn(&T) -> usize) -> Vec<T> {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.into_iter().filter(|c| score(c) == best).collect()
}

/// Chooses among several candidates (`func_select_candidate`); `None` if no one is better than the others.
///
/// In turn, as long as more than one is left: most exact matches of types; most preferred types where a conversion
/// is needed; for unknown literals the category that candidates agree on (string, if any accepts one), and preferred
/// types within it; finally the assumption that unknown literals have the type of the known arguments.
pub(super) fn select_candidate<T>(
    cx: &BindContext<'_>,
    inputs: &[Oid],
    candidates: Vec<T>,
    args: impl Fn(&T) -> &[Oid],
) -> Option<T> {
    let bases: Vec<Oid> =
        inputs.iter().map(|ty| if *ty == oid::UNKNOWN { *ty } else { base_type(*ty) }).collect();
    let unknowns = bases.iter().filter(|ty| **ty == oid::UNKNOWN).count();
    let known = || bases.iter().enumerate().filter(|(_, ty)| **ty != oid::UNKNOWN);

    let mut left = keep_best(candidates, |c| known().filter(|(i, ty)| args(c)[*i] == **ty).count());
    if left.len() == 1 {
        return left.pop();
    }
    let categories: Vec<u8> = bases.iter().map(|ty| category(*ty).0).collect();
    let is_preferred = |category_of_input: u8, ty: Oid| {
        let (category, preferred) = category(ty);
        preferred && category == category_of_input
    };
    left = keep_best(left, |c| {
        known().filter(|(i, ty)| args(c)[*i] == **ty || is_preferred(categories[*i], args(c)[*i])).count()
    });
    if left.len() == 1 {
        return left.pop();
    }
    if unknowns == 0 {
        return None;
    }
    left = narrow_unknowns(&bases, left, &args);
    if left.len() == 1 {
        return left.pop();
    }
    // All known arguments of one type: try it for the unknown ones.
    if unknowns < bases.len() {
        let mut known_types = known().map(|(_, ty)| *ty);
        let first = known_types.next()?;
        if known_types.all(|ty| ty == first) {
            let assumed = vec![first; bases.len()];
            let fits = |c: &T| can_coerce(cx, &assumed, &args(c)[..assumed.len()], CastContext::Implicit);
            let mut fitting = left.into_iter().filter(fits);
            let found = fitting.next();
            return if fitting.next().is_none() { found } else { None };
        }
    }
    None
}

/// Decides on a category for each unknown argument and drops the candidates that want another.
fn narrow_unknowns<T>(bases: &[Oid], candidates: Vec<T>, args: &impl Fn(&T) -> &[Oid]) -> Vec<T> {
    let mut slots: Vec<(usize, u8, bool)> = Vec::new();
    for (i, ty) in bases.iter().enumerate() {
        if *ty != oid::UNKNOWN {
            continue;
        }
        let mut chosen = CATEGORY_UNKNOWN;
        let mut have_preferred = false;
        let mut conflict = false;
        for candidate in &candidates {
            let (category, preferred) = category(args(candidate)[i]);
            if chosen == CATEGORY_UNKNOWN {
                chosen = category;
                have_preferred = preferred;
            } else if category == chosen {
                have_preferred |= preferred;
            } else if category == CATEGORY_STRING {
                chosen = category;
                have_preferred = preferred;
                conflict = false;
            } else if chosen != CATEGORY_STRING {
                conflict = true;
            }
        }
        if conflict && chosen != CATEGORY_STRING {
            return candidates;
        }
        slots.push((i, chosen, have_preferred));
    }
    let fits = |c: &T| {
        slots.iter().all(|(i, wanted, have_preferred)| {
            let (category, preferred) = category(args(c)[*i]);
            category == *wanted && (preferred || !have_preferred)
        })
    };
    // If the rules leave nothing, they decide nothing.
    if candidates.iter().any(fits) { candidates.into_iter().filter(fits).collect() } else { candidates }
}

/// Whether a function is one that windows only can call.
pub(super) fn is_window(proc: &ProcDesc) -> bool {
    proc.kind == ProcKind::Window
}
