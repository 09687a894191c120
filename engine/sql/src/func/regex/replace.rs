//! regexp_replace.

use ::regex::{Captures, Regex};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::translate::Options;
use super::{after, bad_parameter, compile, int_or, start_offset};
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;
use crate::func::args::Args;

/// regexp_replace(source, pattern, replacement)
pub(super) fn plain(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let regex = compile(args.text(1)?, Options::default())?;
    Ok(Datum::text(replace(&regex, args.text(0)?, args.text(2)?, 0, 1)))
}

/// regexp_replace(source, pattern, replacement, flags)
pub(super) fn with_flags(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let flags = args.text(3)?;
    if flags.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("invalid regular expression option: \"{}\"", &flags[..1]);
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .hint("If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer explicitly."));
    }
    let options = Options::parse(flags)?;
    let regex = compile(args.text(1)?, options)?;
    Ok(Datum::text(replace(&regex, args.text(0)?, args.text(2)?, 0, if options.global { 0 } else { 1 })))
}

/// regexp_replace(source, pattern, replacement, start [, n [, flags]])
pub(super) fn extended(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let text = args.text(0)?;
    let start = args.int4(3)?;
    let from = start_offset(text, start)?;
    let nth = int_or(args, 4, 1)?;
    if nth < 0 {
        return Err(bad_parameter("n", nth));
    }
    let options = if args.len() > 5 { Options::parse(args.text(5)?)? } else { Options::default() };
    // An explicit n goes before the flag g.
    let nth = if args.len() <= 4 && options.global { 0 } else { nth };
    let Some(from) = from else { return Ok(args.datum(0).clone()) };
    let regex = compile(args.text(1)?, options)?;
    Ok(Datum::text(replace(&regex, text, args.text(2)?, from, nth)))
}

/// Replaces the nth match from `start` on; all for 0.
fn replace(regex: &Regex, text: &str, replacement: &str, start: usize, nth: i32) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut at, mut seen) = (0, start, 0);
    while at <= text.len()
        && let Some(captures) = regex.captures_at(text, at)
        && let Some(whole) = captures.get(0)
    {
        seen += 1;
        at = after(text, whole);
        if nth > 0 && seen != nth {
            continue;
        }
        out.push_str(&text[copied..whole.start()]);
        expand(replacement, &captures, &mut out);
        copied = whole.end();
        if nth > 0 {
            break;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Writes the replacement: `\1` to `\9` are the parenthesised parts, `\&` the whole match, `\\` a backslash.
fn expand(replacement: &str, captures: &Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let mut rest = chars.clone();
        match rest.next() {
            Some(digit @ '1'..='9') => {
                let group = digit as usize - '0' as usize;
                out.push_str(captures.get(group).map_or("", |part| part.as_str()));
            }
            Some('&') => out.push_str(captures.get(0).map_or("", |part| part.as_str())),
            Some('\\') => out.push('\\'),
            // Anything else keeps its backslash.
            _ => {
                out.push('\\');
                continue;
            }
        }
        chars = rest;
    }
}
