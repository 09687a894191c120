//! Regular expressions: `~`, `regexp_replace` and their family.
//!
//! [`translate`] turns PostgreSQL's notation into the `regex` crate's. Compiled patterns are kept a thread, most
//! recently used first, because a query applies the same few to every row.

mod replace;
mod split;
mod translate;

use std::cell::RefCell;
use std::sync::Arc;

use ::regex::Regex;
use shardforge_types::{ArrayValue, Datum, PgError, PgResult, SqlState, oid};
use smallvec::smallvec;

use super::args::Args;
use super::registry::{KernelTable, SqlKernelTable, TableKernelTable};
use crate::exec::env::EvalEnv;
use crate::func::{CallInfo, TableRows};
use translate::{Options, translate};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("textregexeq",   |a, _, _| Ok(Datum::Bool(is_match(a, Options::default())?))),
    ("textregexne",   |a, _, _| Ok(Datum::Bool(!is_match(a, Options::default())?))),
    ("nameregexeq",   |a, _, _| Ok(Datum::Bool(is_match(a, Options::default())?))),
    ("nameregexne",   |a, _, _| Ok(Datum::Bool(!is_match(a, Options::default())?))),
    ("texticregexeq", |a, _, _| Ok(Datum::Bool(is_match(a, IGNORE_CASE)?))),
    ("texticregexne", |a, _, _| Ok(Datum::Bool(!is_match(a, IGNORE_CASE)?))),
    ("nameicregexeq", |a, _, _| Ok(Datum::Bool(is_match(a, IGNORE_CASE)?))),
    ("nameicregexne", |a, _, _| Ok(Datum::Bool(!is_match(a, IGNORE_CASE)?))),
    ("regexp_like_no_flags", |a, _, _| Ok(Datum::Bool(is_match(a, Options::default())?))),
    ("regexp_like", |a, _, _| Ok(Datum::Bool(is_match(a, no_global(a.text(2)?, "regexp_like")?)?))),

    ("textregexsubstr", |a, _, _| substring(a.text(0)?, a.text(1)?)),
    ("regexp_match_no_flags", |a, _, _| first_match(a.text(0)?, a.text(1)?, Options::default())),
    ("regexp_match", |a, _, _| {
        let options = no_global(a.text(2)?, "regexp_match");
        first_match(a.text(0)?, a.text(1)?, options.map_err(|e| match e.hint {
            Some(_) => e,
            None => if e.message.contains("global") { e.hint("Use the regexp_matches function instead.") } else { e },
        })?)
    }),
    ("regexp_split_to_array_no_flags", |a, _, _| split::to_array(a.text(0)?, a.text(1)?, Options::default())),
    ("regexp_split_to_array", |a, _, _| {
        split::to_array(a.text(0)?, a.text(1)?, no_global(a.text(2)?, "regexp_split_to_array")?)
    }),

    ("textregexreplace_noopt", replace::plain),
    ("textregexreplace", replace::with_flags),
    ("textregexreplace_extended", replace::extended),
    ("textregexreplace_extended_no_n", replace::extended),
    ("textregexreplace_extended_no_flags", replace::extended),

    ("regexp_count_no_start", count),
    ("regexp_count_no_flags", count),
    ("regexp_count", count),
    ("regexp_instr_no_start", position),
    ("regexp_instr_no_n", position),
    ("regexp_instr_no_endoption", position),
    ("regexp_instr_no_flags", position),
    ("regexp_instr_no_subexpr", position),
    ("regexp_instr", position),
    ("regexp_substr_no_start", part),
    ("regexp_substr_no_n", part),
    ("regexp_substr_no_flags", part),
    ("regexp_substr_no_subexpr", part),
    ("regexp_substr", part),
];

pub(super) const SQL_KERNELS: SqlKernelTable = &[(2074, "substring(text, text, text)", |a, _, _| {
    substring(a.text(0)?, &super::pattern::similar_to_regex(a.text(1)?, Some(a.text(2)?))?)
})];

pub(super) const TABLES: TableKernelTable = &[
    ("regexp_matches_no_flags", all_matches),
    ("regexp_matches", all_matches),
    ("regexp_split_to_table_no_flags", split::to_table),
    ("regexp_split_to_table", split::to_table),
];

const IGNORE_CASE: Options = Options {
    ignore_case: true,
    expanded: false,
    literal: false,
    newline_stops: false,
    newline_anchors: false,
    global: false,
};

/// How many compiled patterns a thread keeps.
const CACHE_ENTRIES_MAX: usize = 32;

type CacheEntry = (String, Options, Arc<Regex>);

thread_local! {
    static CACHE: RefCell<Vec<CacheEntry>> = const { RefCell::new(Vec::new()) };
}

/// The compiled pattern.
fn compile(pattern: &str, options: Options) -> PgResult<Arc<Regex>> {
    let options = Options { global: false, ..options };
    CACHE.with_borrow_mut(|cache| {
        if let Some(at) = cache.iter().position(|(known, with, _)| known == pattern && *with == options) {
            cache[..=at].rotate_right(1);
            return Ok(cache[0].2.clone());
        }
        let regex = Arc::new(build(pattern, options)?);
        cache.truncate(CACHE_ENTRIES_MAX - 1);
        cache.insert(0, (pattern.to_owned(), options, regex.clone()));
        Ok(regex)
    })
}

fn build(pattern: &str, options: Options) -> PgResult<Regex> {
    let (translated, options) = translate(pattern, options)?;
    let built = ::regex::RegexBuilder::new(&translated)
        .case_insensitive(options.ignore_case)
        .dot_matches_new_line(!options.newline_stops)
        .multi_line(options.newline_anchors)
        .build();
    built.map_err(|error| match error {
        ::regex::Error::CompiledTooBig(_) => translate::invalid("regular expression is too complex"),
        _ => translate::invalid("quantifier operand invalid"),
    })
}

fn is_match(args: &[Datum], options: Options) -> PgResult<bool> {
    Ok(compile(args.text(1)?, options)?.is_match(args.text(0)?))
}

/// Options of a function that does not take `g`.
fn no_global(flags: &str, function: &str) -> PgResult<Options> {
    let options = Options::parse(flags)?;
    if options.global {
        let message = format!("{function}() does not support the \"global\" option");
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(options)
}

/// `substring(text from pattern)`: the first parenthesised part if there is one, else the whole match.
fn substring(text: &str, pattern: &str) -> PgResult<Datum> {
    let regex = compile(pattern, Options::default())?;
    let Some(captures) = regex.captures(text) else { return Ok(Datum::Null) };
    let group = usize::from(captures.len() > 1);
    Ok(captures.get(group).map_or(Datum::Null, |part| Datum::text(part.as_str())))
}

/// A match as an array: its parenthesised parts, or the whole if there are none.
fn as_array(captures: &::regex::Captures<'_>) -> Datum {
    let group = |index: usize| captures.get(index).map_or(Datum::Null, |part| Datum::text(part.as_str()));
    let parts = if captures.len() == 1 { vec![group(0)] } else { (1..captures.len()).map(group).collect() };
    Datum::Array(Arc::new(ArrayValue::from_elements(oid::TEXT, parts)))
}

fn first_match(text: &str, pattern: &str, options: Options) -> PgResult<Datum> {
    let regex = compile(pattern, options)?;
    Ok(regex.captures(text).map_or(Datum::Null, |captures| as_array(&captures)))
}

/// The start of the next search: behind the match, and a character further if the match was empty.
fn after(text: &str, found: ::regex::Match<'_>) -> usize {
    if !found.is_empty() {
        return found.end();
    }
    found.end() + text[found.end()..].chars().next().map_or(1, char::len_utf8)
}

/// Calls `take` for each match from `start` on, until it answers false.
fn for_each_match<'t>(
    regex: &Regex,
    text: &'t str,
    start: usize,
    mut take: impl FnMut(&::regex::Captures<'t>) -> bool,
) {
    let mut at = start;
    while at <= text.len()
        && let Some(captures) = regex.captures_at(text, at)
        && let Some(whole) = captures.get(0)
    {
        if !take(&captures) {
            return;
        }
        at = after(text, whole);
    }
}

fn all_matches(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let options = if args.len() > 2 { Options::parse(args.text(2)?)? } else { Options::default() };
    let regex = compile(args.text(1)?, options)?;
    let mut rows = Vec::new();
    for_each_match(&regex, args.text(0)?, 0, |captures| {
        rows.push(Ok(smallvec![as_array(captures)]));
        options.global
    });
    Ok(Box::new(rows.into_iter()))
}

/// The byte offset of a start position that counts characters from 1; None behind the end.
fn start_offset(text: &str, start: i32) -> PgResult<Option<usize>> {
    if start <= 0 {
        return Err(bad_parameter("start", start));
    }
    let skip = start as usize - 1;
    let total = super::text::chars(text) as usize;
    Ok((skip <= total).then(|| text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at)))
}

#[cold]
fn bad_parameter(name: &str, value: i32) -> PgError {
    let message = format!("invalid value for parameter \"{name}\": {value}");
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// An optional integer argument.
fn int_or(args: &[Datum], index: usize, default: i32) -> PgResult<i32> {
    if index < args.len() { args.int4(index) } else { Ok(default) }
}

fn count(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let text = args.text(0)?;
    let Some(start) = start_offset(text, int_or(args, 2, 1)?)? else { return Ok(Datum::Int4(0)) };
    let options = if args.len() > 3 { no_global(args.text(3)?, "regexp_count")? } else { Options::default() };
    let regex = compile(args.text(1)?, options)?;
    let mut matches = 0;
    for_each_match(&regex, text, start, |_| {
        matches += 1;
        true
    });
    Ok(Datum::Int4(matches))
}

/// The span of the nth match's (part of the) text, for regexp_instr and regexp_substr.
fn nth_span(args: &[Datum], flags_at: usize, function: &str) -> PgResult<Option<(usize, usize)>> {
    let text = args.text(0)?;
    let start = int_or(args, 2, 1)?;
    let nth = int_or(args, 3, 1)?;
    let Some(from) = start_offset(text, start)? else { return Ok(None) };
    if nth <= 0 {
        return Err(bad_parameter("n", nth));
    }
    let options =
        if args.len() > flags_at { no_global(args.text(flags_at)?, function)? } else { Options::default() };
    let group = int_or(args, flags_at + 1, 0)?;
    let Ok(group) = usize::try_from(group) else { return Err(bad_parameter("subexpr", group)) };
    let regex = compile(args.text(1)?, options)?;
    let mut left = nth;
    let mut span = None;
    for_each_match(&regex, text, from, |captures| {
        left -= 1;
        if left == 0 {
            span = captures.get(group).map(|part| (part.start(), part.end()));
        }
        left > 0
    });
    Ok(span)
}

/// regexp_instr(string, pattern, start, n, endoption, flags, subexpr)
fn position(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let end_option = int_or(args, 4, 0)?;
    if !(0..=1).contains(&end_option) {
        return Err(bad_parameter("endoption", end_option));
    }
    let Some((start, end)) = nth_span(args, 5, "regexp_instr")? else { return Ok(Datum::Int4(0)) };
    let offset = if end_option == 1 { end } else { start };
    Ok(Datum::Int4(super::text::chars(&args.text(0)?[..offset]) + 1))
}

/// regexp_substr(string, pattern, start, n, flags, subexpr)
fn part(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let span = nth_span(args, 4, "regexp_substr")?;
    span.map_or(Ok(Datum::Null), |(start, end)| args.text(0).map(|text| Datum::text(&text[start..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, pattern: &str) -> PgResult<bool> {
        Ok(compile(pattern, Options::default())?.is_match(text))
    }

    #[test]
    fn notation() {
        for (text, pattern, expected) in [
            ("abc", "^(abc)$", true),
            ("a[b", "a[[]b", true),
            ("a]b", "a[]]b", true),
            ("a&b", "[&&]", true),
            ("foo bar", r"\mbar\M", true),
            ("foobar", r"\mbar", false),
            ("foo bar", "[[:<:]]bar[[:>:]]", true),
            ("a{b", "a{b", true),
            ("aab", "^a{2}b", true),
            ("a\nb", "a.b", true),
            ("a\nb", "(?n)a.b", false),
            ("ABC", "(?i)abc", true),
            ("a.c", "***=a.c", true),
            ("abc", "***=a.c", false),
            ("a b", r"a\sb", true),
            ("tab\t", r"\t", true),
            ("é", r"^\w$", true),
            ("x-y", "[a-]-|x[-]y", true),
        ] {
            assert_eq!(matches(text, pattern).unwrap(), expected, "{text} ~ {pattern}");
        }
        for (pattern, message) in [
            ("(a", "parentheses () not balanced"),
            ("a)", "parentheses () not balanced"),
            ("[a", "brackets [] not balanced"),
            ("*a", "quantifier operand invalid"),
            ("a{2,1}", "invalid repetition count(s)"),
            ("[z-a]", "invalid character range"),
            ("[[:nope:]]", "invalid character class"),
            ("a\\", "invalid escape \\ sequence"),
        ] {
            let error = matches("", pattern).unwrap_err();
            assert_eq!(error.message, format!("invalid regular expression: {message}"), "{pattern}");
        }
        assert_eq!(matches("", r"(a)\1").unwrap_err().sqlstate, SqlState::FEATURE_NOT_SUPPORTED);
    }
}
