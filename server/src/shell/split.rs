//! Finding the ends of statements in text that is still being typed.
//!
//! A [`Splitter`] reads text as the server's lexer would, as far as that is needed to tell a semicolon that
//! ends a statement from one in a string, a quoted name, a comment, a dollar-quoted body or parentheses.

/// What the text so far leaves open; shown in the prompt as psql does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Nothing: no statement has begun.
    Nothing,
    /// A statement.
    Statement,
    /// A string.
    Quote,
    /// A quoted name.
    Name,
    /// A dollar-quoted string.
    Dollar,
    /// A comment.
    Comment,
    /// Parentheses.
    Parenthesis,
}

impl Open {
    /// The character in the prompt.
    pub fn mark(self) -> char {
        match self {
            Open::Nothing => '=',
            Open::Statement => '-',
            Open::Quote => '\'',
            Open::Name => '"',
            Open::Dollar => '$',
            Open::Comment => '*',
            Open::Parenthesis => '(',
        }
    }
}

/// Takes the first complete statement off `text`, its semicolon included; otherwise says what is open.
pub fn take_statement(text: &mut String) -> Result<String, Open> {
    let scan = scan(text);
    match scan.end {
        Some(end) => {
            let rest = text.split_off(end);
            let statement = std::mem::replace(text, rest);
            Ok(statement.trim().to_owned())
        }
        None => Err(scan.open),
    }
}

struct Scan {
    /// The byte after the first semicolon that ends a statement.
    end: Option<usize>,
    open: Open,
}

fn scan(text: &str) -> Scan {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut depth = 0usize;
    let mut begun = false;
    let unfinished = |open| Scan { end: None, open };
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match byte {
            b'-' if next == Some(b'-') => {
                at = find(bytes, at, b"\n").map_or(bytes.len(), |end| end + 1);
                continue;
            }
            b'/' if next == Some(b'*') => match comment_end(bytes, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return unfinished(Open::Comment),
            },
            b'\'' => {
                let escapes = at > 0
                    && matches!(bytes[at - 1], b'e' | b'E')
                    && (at < 2 || !is_name_byte(bytes[at - 2]));
                match quote_end(bytes, at, escapes) {
                    Some(end) => at = end,
                    None => return unfinished(Open::Quote),
                }
            }
            b'"' => match quote_end(bytes, at, false) {
                Some(end) => at = end,
                None => return unfinished(Open::Name),
            },
            b'$' if at == 0 || !is_name_byte(bytes[at - 1]) => match dollar_tag(&bytes[at..]) {
                Some(tag) => match find(bytes, at + tag.len(), tag) {
                    Some(end) => at = end + tag.len(),
                    None => return unfinished(Open::Dollar),
                },
                None => at += 1,
            },
            b'(' => {
                depth += 1;
                at += 1;
            }
            b')' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b';' if depth == 0 => return Scan { end: Some(at + 1), open: Open::Nothing },
            _ => {
                at += 1;
                if byte.is_ascii_whitespace() {
                    continue;
                }
            }
        }
        begun = true;
    }
    unfinished(match (begun, depth) {
        (false, _) => Open::Nothing,
        (true, 0) => Open::Statement,
        (true, _) => Open::Parenthesis,
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

/// The byte after a comment that begins at `at`; comments nest.
fn comment_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0;
    let mut at = at;
    loop {
        match bytes.get(at..at + 2)? {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// The byte after the quoted text that begins at `at`. A doubled quote is seen as two texts, which is as good.
fn quote_end(bytes: &[u8], at: usize, escapes: bool) -> Option<usize> {
    let quote = bytes[at];
    let mut at = at + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if escapes => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// `$$` or `$tag$` at the start of the text.
fn dollar_tag(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes[1..].iter().position(|byte| *byte == b'$')?;
    let tag = &bytes[1..=length];
    let is_name =
        tag.iter().all(|byte| is_name_byte(*byte)) && tag.first().is_none_or(|b| !b.is_ascii_digit());
    is_name.then(|| &bytes[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> (Vec<String>, Open) {
        let mut text = text.to_owned();
        let mut statements = vec![];
        loop {
            match take_statement(&mut text) {
                Ok(statement) => statements.push(statement),
                Err(open) => return (statements, open),
            }
        }
    }

    #[test]
    fn semicolons_end_statements_where_the_server_sees_them() {
        for (text, expected, open) in [
            ("select 1; select 2;", vec!["select 1;", "select 2;"], Open::Nothing),
            ("select ';', \";\";", vec!["select ';', \";\";"], Open::Nothing),
            ("select 'it''s;';", vec!["select 'it''s;';"], Open::Nothing),
            (r"select e'\';';", vec![r"select e'\';';"], Open::Nothing),
            (r"select '\'; x", vec![r"select '\';"], Open::Statement),
            ("select $$;$$, $a$;$$;$a$;", vec!["select $$;$$, $a$;$$;$a$;"], Open::Nothing),
            ("select $1; x", vec!["select $1;"], Open::Statement),
            ("-- a;\nselect 1;", vec!["-- a;\nselect 1;"], Open::Nothing),
            ("/* ; /* ; */ ; */ select 1;", vec!["/* ; /* ; */ ; */ select 1;"], Open::Nothing),
            ("create rule r as (a; b);", vec!["create rule r as (a; b);"], Open::Nothing),
            ("", vec![], Open::Nothing),
            ("  -- nothing yet", vec![], Open::Nothing),
            ("select", vec![], Open::Statement),
            ("select '", vec![], Open::Quote),
            ("select \"", vec![], Open::Name),
            ("select $x$ $", vec![], Open::Dollar),
            ("select /* /* */", vec![], Open::Comment),
            ("select (", vec![], Open::Parenthesis),
        ] {
            assert_eq!(statements(text), (expected.into_iter().map(str::to_owned).collect(), open), "{text}");
        }
    }
}
