//! Expressions as text.
//!
//! Descriptors keep expressions in the form that PostgreSQL deparses them to (`((a > 0) AND (b < 5))`). What the
//! catalogs want of them can be read off that form without binding it.

use crate::catalog::TableDesc;

/// A token of deparsed SQL: just what is needed to find names and to match parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name without quotes, or a keyword or number.
    Word(&'a str),
    /// What stands between double quotes.
    Quoted(&'a str),
    /// A string constant.
    String,
    /// Any other character.
    Other(char),
}

/// The tokens with the byte offsets where they end.
fn tokens(sql: &str) -> Vec<(Token<'_>, usize)> {
    let mut out = Vec::new();
    let mut chars = sql.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let mut take_while = |accept: fn(char) -> bool| {
            while chars.next_if(|(_, c)| accept(*c)).is_some() {}
            chars.peek().map_or(sql.len(), |(at, _)| *at)
        };
        let token = match c {
            '\'' | '"' => {
                // A doubled quote reads as two adjacent tokens, which does no harm here.
                let end = sql[start + 1..].find(c).map_or(sql.len(), |n| start + 1 + n);
                while chars.next_if(|(at, _)| *at <= end).is_some() {}
                if c == '"' { Token::Quoted(&sql[start + 1..end]) } else { Token::String }
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = take_while(|c| c.is_alphanumeric() || c == '_' || c == '$');
                Token::Word(&sql[start..end])
            }
            c if c.is_whitespace() => continue,
            c => Token::Other(c),
        };
        out.push((token, chars.peek().map_or(sql.len(), |(at, _)| *at)));
    }
    out
}

/// The attribute numbers of the columns that an expression over one table mentions, ascending.
pub fn referenced_columns(table: &TableDesc, sql: &str) -> Vec<i16> {
    let tokens = tokens(sql);
    let mut found = Vec::new();
    for (i, (token, _)) in tokens.iter().enumerate() {
        // A name before a parenthesis is a function, one after `::` a type.
        let is_call = matches!(tokens.get(i + 1), Some((Token::Other('('), _)));
        let is_type = i > 0 && tokens[i - 1].0 == Token::Other(':');
        let name = match token {
            Token::Word(name) if !is_call && !is_type => name,
            Token::Quoted(name) if !is_call && !is_type => name,
            _ => continue,
        };
        found.extend(table.column_by_name(name).map(|(attnum, _)| attnum));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The name that an index column gets from its expression: the function's, else `expr`.
pub fn expression_name(sql: &str) -> String {
    let inner = strip_parentheses(sql);
    let tokens = tokens(inner);
    match (tokens.first(), tokens.get(1)) {
        (Some((Token::Word(name) | Token::Quoted(name), _)), Some((Token::Other('('), _)))
            if is_call(inner) =>
        {
            (*name).to_owned()
        }
        _ => "expr".to_owned(),
    }
}

/// Whether the whole expression is one call: `lower(name)`, but not `lower(a) || lower(b)`.
pub(super) fn is_call(sql: &str) -> bool {
    let tokens = tokens(sql);
    let Some(open) = tokens.iter().position(|(t, _)| *t == Token::Other('(')) else { return false };
    let is_name =
        |(t, _): &(Token<'_>, usize)| matches!(t, Token::Word(_) | Token::Quoted(_) | Token::Other('.'));
    open > 0 && tokens[..open].iter().all(is_name) && closing(&tokens, open) == Some(tokens.len() - 1)
}

/// The position of the parenthesis that closes the one at `open`.
fn closing(tokens: &[(Token<'_>, usize)], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Other('(') => depth += 1,
            Token::Other(')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether one pair of parentheses is around the whole expression.
pub(super) fn is_parenthesized(sql: &str) -> bool {
    let tokens = tokens(sql);
    matches!(tokens.first(), Some((Token::Other('('), _))) && closing(&tokens, 0) == Some(tokens.len() - 1)
}

/// The expression without the parentheses around the whole of it.
pub(super) fn strip_parentheses(sql: &str) -> &str {
    let sql = sql.trim();
    if is_parenthesized(sql) { strip_parentheses(&sql[1..sql.len() - 1]) } else { sql }
}

/// The expression with parentheses around the whole of it.
pub(super) fn parenthesized(sql: &str) -> String {
    let sql = sql.trim();
    if is_parenthesized(sql) { sql.to_owned() } else { format!("({sql})") }
}

/// An expression as the pretty forms print it: without the parentheses that deparsing puts around every operator,
/// as far as they stand around the whole or around an operand of AND and OR that is a plain comparison.
pub fn pretty_expression(sql: &str) -> String {
    let sql = strip_parentheses(sql);
    let tokens = tokens(sql);
    // `(a) AND (b) AND (c)`: at the top level nothing but AND between parentheses.
    let mut parts = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].0 != Token::Other('(') {
            return sql.to_owned();
        }
        let Some(end) = closing(&tokens, at) else { return sql.to_owned() };
        let start_byte = tokens[at].1;
        let end_byte = if end > 0 { tokens[end - 1].1 } else { start_byte };
        parts.push(sql[start_byte..end_byte].trim());
        match tokens.get(end + 1) {
            None => at = tokens.len(),
            Some((Token::Word(word), _)) if word.eq_ignore_ascii_case("and") => at = end + 2,
            Some(_) => return sql.to_owned(),
        }
    }
    let plain = |part: &&str| !part.contains(" OR ");
    if parts.len() > 1 && parts.iter().all(|p| plain(&p)) {
        parts.into_iter().map(pretty_expression).collect::<Vec<_>>().join(" AND ")
    } else {
        sql.to_owned()
    }
}
