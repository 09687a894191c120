//! The signature of a function in words: `pg_get_function_arguments` and its kin.

use shardforge_types::Oid;

use crate::catalog::builtin::{AggregateKind, ArgMode, ProcDesc, ProcKind, builtin};
use crate::func::ident::quote_identifier;

/// `pg_get_function_arguments(function)`; without defaults `pg_get_function_identity_arguments`. `type_name` prints a
/// type.
pub fn function_arguments(proc: &ProcDesc, defaults: bool, type_name: impl Fn(Oid) -> String) -> String {
    let params = proc.params();
    let inputs = params.iter().filter(|p| !matches!(p.mode, ArgMode::Out | ArgMode::Table)).count();
    let mut default_texts = proc.defaults().into_iter();
    let first_default = inputs - default_texts.len().min(inputs);
    let order_by_at = builtin()
        .aggregate(proc.oid)
        .filter(|a| a.kind != AggregateKind::Normal)
        .map(|a| usize::from(a.num_direct_args));
    let mut out = String::new();
    let mut input = 0;
    for param in params.iter().filter(|p| p.mode != ArgMode::Table) {
        if order_by_at == Some(input) {
            out += if out.is_empty() { "ORDER BY " } else { " ORDER BY " };
        } else if !out.is_empty() {
            out += ", ";
        }
        out += match param.mode {
            ArgMode::In if proc.kind == ProcKind::Procedure => "IN ",
            ArgMode::In | ArgMode::Table => "",
            ArgMode::Out => "OUT ",
            ArgMode::InOut => "INOUT ",
            ArgMode::Variadic => "VARIADIC ",
        };
        if !param.name.is_empty() {
            out += &quote_identifier(&param.name);
            out += " ";
        }
        out += &type_name(param.ty);
        if param.mode == ArgMode::Out {
            continue;
        }
        if input >= first_default
            && let Some(default) = default_texts.next().filter(|_| defaults)
        {
            out += " DEFAULT ";
            out += &default;
        }
        input += 1;
    }
    out
}

/// `pg_get_function_result(function)`: `None` for a procedure.
pub fn function_result(proc: &ProcDesc, type_name: impl Fn(Oid) -> String) -> Option<String> {
    if proc.kind == ProcKind::Procedure {
        return None;
    }
    let columns: Vec<String> = proc
        .params()
        .iter()
        .filter(|p| p.mode == ArgMode::Table)
        .map(|p| format!("{} {}", quote_identifier(&p.name), type_name(p.ty)))
        .collect();
    if !columns.is_empty() {
        return Some(format!("TABLE({})", columns.join(", ")));
    }
    let setof = if proc.retset { "SETOF " } else { "" };
    Some(format!("{setof}{}", type_name(proc.rettype)))
}

/// `pg_get_function_arg_default(function, position)`, the position counting all parameters from 1.
pub fn function_argument_default(proc: &ProcDesc, position: i32) -> Option<String> {
    let params = proc.params();
    let position = usize::try_from(position).ok()?.checked_sub(1)?;
    let is_input = |mode| !matches!(mode, ArgMode::Out | ArgMode::Table);
    if !is_input(params.get(position)?.mode) {
        return None;
    }
    let before = params[..position].iter().filter(|p| is_input(p.mode)).count();
    let defaults = proc.defaults();
    let inputs = params.iter().filter(|p| is_input(p.mode)).count();
    defaults.get(before.checked_sub(inputs - defaults.len().min(inputs))?).cloned()
}
