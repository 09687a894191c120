//! regexp_split_to_array and regexp_split_to_table.

use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, PgResult, oid};
use smallvec::smallvec;

use super::translate::Options;
use super::{compile, for_each_match, no_global};
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::{CallInfo, TableRows};

/// The parts between the matches. Empty matches at the ends and right behind another match do not split.
fn split(text: &str, pattern: &str, options: Options) -> PgResult<Vec<Datum>> {
    let regex = compile(pattern, options)?;
    let mut parts = Vec::new();
    let (mut start, mut previous_end) = (0, 0);
    for_each_match(&regex, text, 0, |captures| {
        if let Some(found) = captures.get(0) {
            if found.start() < text.len() && found.end() > previous_end {
                parts.push(Datum::text(&text[start..found.start()]));
                start = found.end();
            }
            previous_end = found.end();
        }
        true
    });
    parts.push(Datum::text(&text[start..]));
    Ok(parts)
}

pub(super) fn to_array(text: &str, pattern: &str, options: Options) -> PgResult<Datum> {
    let parts = split(text, pattern, options)?;
    Ok(Datum::Array(Arc::new(ArrayValue::from_elements(oid::TEXT, parts))))
}

pub(super) fn to_table(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let options =
        if args.len() > 2 { no_global(args.text(2)?, "regexp_split_to_table")? } else { Options::default() };
    let parts = split(args.text(0)?, args.text(1)?, options)?;
    Ok(Box::new(parts.into_iter().map(|part| Ok(smallvec![part]))))
}
