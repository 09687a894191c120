//! Taking superfluous parentheses out of deparsed expressions.
//!
//! PostgreSQL deparses in two ways: safely, with parentheses around every operation (`((a > 0) AND (b < 5))`), which is
//! how descriptors keep expressions, and prettily (`a > 0 AND b < 5`), which is what `\d` shows. The second follows
//! from the first: what is between two parentheses is an operand, and whether it needs them depends on what it is and
//! what it is an operand of, by the rules of `isSimpleNode` in ruleutils.c.

use super::expressions::strip_parentheses;
use super::tokens::{Kind, Token, closing, closing_bracket, tokens};

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    /// A column, constant, call, CASE, array.
    Simple,
    /// A cast, with what is cast.
    Cast,
    /// An operation; of a one-letter binary operator its letter.
    Operation(Option<char>),
    And,
    Or,
    Not,
    /// IS NULL and the like.
    Test,
    /// `op ANY (...)`, COLLATE and what else is not known.
    Complex,
}

/// What an operand is an operand of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    /// Nothing, or a list with parentheses or brackets of its own.
    Enclosed,
    /// `operand::type`
    Cast,
    /// An operation; of a one-letter binary operator its letter, and whether this is the left operand.
    Operation(Option<char>, bool),
    /// AND or OR.
    Junction(Node),
    Not,
    /// IS NULL and the like.
    Other,
}

/// The pretty form of an expression in the safe form.
pub fn pretty_expression(sql: &str) -> String {
    render(sql, Parent::Enclosed)
}

fn render(sql: &str, parent: Parent) -> String {
    let inner = strip_parentheses(sql);
    let tokens = tokens(inner);
    let node = classify(inner, &tokens);
    let text = operands(inner, &tokens, node);
    if needs_parentheses(node, parent) { format!("({text})") } else { text }
}

fn needs_parentheses(node: Node, parent: Parent) -> bool {
    if parent == Parent::Enclosed {
        return false;
    }
    match node {
        Node::Simple | Node::Cast => false,
        Node::Operation(Some(op)) => match parent {
            Parent::Operation(Some(parent_op), is_left) => match (priority(op), priority(parent_op)) {
                (Some(own), Some(above)) => !(own > above || (own == above && is_left)),
                _ => true,
            },
            Parent::Junction(_) | Parent::Not => false,
            _ => true,
        },
        Node::Operation(None) | Node::Test => !matches!(parent, Parent::Junction(_) | Parent::Not),
        Node::And | Node::Not => !matches!(parent, Parent::Junction(_)),
        Node::Or => parent != Parent::Junction(Node::Or),
        Node::Complex => !matches!(parent, Parent::Junction(_) | Parent::Not),
    }
}

/// The binding strength of the operators that PostgreSQL trusts readers to know.
fn priority(op: char) -> Option<u8> {
    match op {
        '+' | '-' => Some(1),
        '*' | '/' | '%' => Some(2),
        _ => None,
    }
}

/// What stands at one level of parentheses.
fn classify(sql: &str, tokens: &[Token]) -> Node {
    let mut node = Node::Simple;
    let mut at = 0;
    let mut case_depth = 0;
    while let Some(token) = tokens.get(at) {
        let text = &sql[token.start..token.end];
        match (token.kind, text) {
            (Kind::Open, _) => at = closing(tokens, at),
            (Kind::Other, "[") => at = closing_bracket(sql, tokens, at),
            (Kind::Word, "CASE") => case_depth += 1,
            (Kind::Word, "END") => case_depth -= 1,
            _ if case_depth > 0 => {}
            (Kind::Word, "AND") => return Node::And,
            (Kind::Word, "OR") => return Node::Or,
            (Kind::Word, "NOT") if at == 0 => return Node::Not,
            (Kind::Word, "IS") => return Node::Test,
            (Kind::Word, "ANY" | "ALL") if matches!(node, Node::Operation(_)) => return Node::Complex,
            (Kind::Word, "COLLATE" | "AT") if at > 0 => return Node::Complex,
            (Kind::Operator, op) => {
                let mut letters = op.chars();
                let single = letters.next().filter(|_| letters.next().is_none());
                node = Node::Operation(single.filter(|_| at > 0));
            }
            (Kind::Cast, _) if node == Node::Simple => node = Node::Cast,
            _ => {}
        }
        at += 1;
    }
    node
}

/// The text of one level, with the operands in parentheses rendered anew.
fn operands(sql: &str, tokens: &[Token], node: Node) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    let mut seen_operator = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is_bracket = &sql[token.start..token.end] == "[";
        if token.kind == Kind::Operator {
            seen_operator = true;
        }
        if token.kind != Kind::Open && !is_bracket {
            at += 1;
            continue;
        }
        let end = if is_bracket { closing_bracket(sql, tokens, at) } else { closing(tokens, at) };
        let Some(close) = tokens.get(end) else { break };
        let inside = &sql[token.end..close.start];
        let before = at.checked_sub(1).map(|i| &sql[tokens[i].start..tokens[i].end]);
        out += &sql[copied..token.start];
        if is_bracket || is_list(before, at.checked_sub(1).map(|i| tokens[i].kind)) {
            out += &sql[token.start..token.end];
            out += &list(inside);
            out += &sql[close.start..close.end];
        } else if tokens.get(end + 1).is_some_and(|t| matches!(&sql[t.start..t.end], "[" | ".")) {
            out += &format!("({})", render(inside, Parent::Enclosed));
        } else {
            let is_cast = tokens.get(end + 1).is_some_and(|t| t.kind == Kind::Cast);
            let parent = match node {
                _ if is_cast => Parent::Cast,
                Node::Operation(op) => Parent::Operation(op, !seen_operator),
                Node::And | Node::Or => Parent::Junction(node),
                Node::Not => Parent::Not,
                Node::Simple | Node::Cast => Parent::Enclosed,
                Node::Test | Node::Complex => Parent::Other,
            };
            out += &render(inside, parent);
        }
        copied = close.end;
        at = end + 1;
    }
    out += &sql[copied..];
    out
}

/// Whether the parentheses after this belong to a call or a list rather than to an operand.
fn is_list(before: Option<&str>, kind: Option<Kind>) -> bool {
    match kind {
        Some(Kind::Word) => {
            let keywords = ["AND", "OR", "NOT", "IS", "FROM", "WHEN", "THEN", "ELSE", "CASE", "FOR", "ZONE"];
            !before.is_some_and(|word| keywords.contains(&word))
        }
        Some(Kind::Quoted) => true,
        _ => false,
    }
}

/// The elements of an argument list, each in its pretty form.
fn list(sql: &str) -> String {
    let tokens = tokens(sql);
    // POSITION(('a'::text) IN (c)) and its like keep what they have.
    if tokens.iter().any(|t| &sql[t.start..t.end] == "IN") {
        return sql.to_owned();
    }
    let mut out = String::with_capacity(sql.len());
    let mut start = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match &sql[token.start..token.end] {
            "(" => at = closing(&tokens, at),
            "[" => at = closing_bracket(sql, &tokens, at),
            "," => {
                out += &element(&sql[start..token.start]);
                out += ",";
                start = token.end;
            }
            _ => {}
        }
        at += 1;
    }
    out += &element(&sql[start..]);
    out
}

/// An element with the blanks before it.
fn element(sql: &str) -> String {
    let blanks = sql.len() - sql.trim_start().len();
    format!("{}{}", &sql[..blanks], render(sql, Parent::Enclosed))
}

#[cfg(test)]
mod tests {
    use super::pretty_expression;

    /// The safe and the pretty forms of expressions, by PostgreSQL 18 (`pg_get_expr`).
    const FORMS: &[(&str, &str)] = &[
        ("(a > 0)", "a > 0"),
        ("((a > 0) AND (b < 5))", "a > 0 AND b < 5"),
        ("((a > 0) OR ((b < 5) AND f))", "a > 0 OR b < 5 AND f"),
        ("(NOT f)", "NOT f"),
        ("(NOT (f AND g))", "NOT (f AND g)"),
        ("(((a + b) * 2) > 3)", "((a + b) * 2) > 3"),
        ("((a - (b - 1)) > 0)", "(a - (b - 1)) > 0"),
        ("(((a - b) - 1) > 0)", "(a - b - 1) > 0"),
        ("(((a * b) + 1) > 0)", "(a * b + 1) > 0"),
        ("((a * (b + 1)) > 0)", "(a * (b + 1)) > 0"),
        ("(e > (0)::numeric)", "e > 0::numeric"),
        ("((e >= (0)::numeric) AND (e < 100.5))", "e >= 0::numeric AND e < 100.5"),
        ("(c = 'x'::text)", "c = 'x'::text"),
        ("((d)::text = 'x'::text)", "d::text = 'x'::text"),
        ("(lower((d)::text) = 'x'::text)", "lower(d::text) = 'x'::text"),
        ("(c ~~ 'a%'::text)", "c ~~ 'a%'::text"),
        ("(c = ANY (ARRAY['a'::text, 'b'::text]))", "c = ANY (ARRAY['a'::text, 'b'::text])"),
        ("(a = ANY (ARRAY[1, 2, 3]))", "a = ANY (ARRAY[1, 2, 3])"),
        ("((a >= 1) AND (a <= 10))", "a >= 1 AND a <= 10"),
        ("(c IS NOT NULL)", "c IS NOT NULL"),
        ("((a IS NULL) OR (b IS NOT NULL))", "a IS NULL OR b IS NOT NULL"),
        ("((a > 0) IS TRUE)", "(a > 0) IS TRUE"),
        ("(f IS NOT FALSE)", "f IS NOT FALSE"),
        ("(COALESCE(a, b) > 0)", "COALESCE(a, b) > 0"),
        ("((a)::text = c)", "a::text = c"),
        ("(((a)::text || c) = (d)::text)", "(a::text || c) = d::text"),
        ("(length((c || (d)::text)) > 3)", "length(c || d::text) > 3"),
        ("(h[1] = 'x'::text)", "h[1] = 'x'::text"),
        ("('x'::text = ANY (h))", "'x'::text = ANY (h)"),
        ("(ARRAY[a, b] = ARRAY[1, 2])", "ARRAY[a, b] = ARRAY[1, 2]"),
        ("(i > now())", "i > now()"),
        ("(j > CURRENT_DATE)", "j > CURRENT_DATE"),
        (
            "(i > '2020-01-01 00:00:00+00'::timestamp with time zone)",
            "i > '2020-01-01 00:00:00+00'::timestamp with time zone",
        ),
        ("((a % 2) = 0)", "(a % 2) = 0"),
        ("((- a) > 0)", "(- a) > 0"),
        ("(a = '-1'::integer)", "a = '-1'::integer"),
        ("(abs((- a)) > 1)", "abs(- a) > 1"),
        ("(e = 1.5::numeric(10,2))", "e = 1.5::numeric(10,2)"),
        ("(c ~ '^a'::text)", "c ~ '^a'::text"),
        ("(NOT (c ~ '^a'::text))", "NOT c ~ '^a'::text"),
        ("(c ~ similar_to_escape('a'::text))", "c ~ similar_to_escape('a'::text)"),
        ("(f = (a > b))", "f = (a > b)"),
        ("((f AND g) = true)", "(f AND g) = true"),
        ("((a > 0) AND ((b > 0) OR f) AND g)", "a > 0 AND (b > 0 OR f) AND g"),
        ("(a IS DISTINCT FROM b)", "a IS DISTINCT FROM b"),
        ("(NULLIF(a, b) = 1)", "NULLIF(a, b) = 1"),
        ("(GREATEST(a, b) > 1)", "GREATEST(a, b) > 1"),
        (r#"((c COLLATE "C") < 'x'::text)"#, r#"(c COLLATE "C") < 'x'::text"#),
        ("((((a > 0) AND f))::text = 't'::text)", "(a > 0 AND f)::text = 't'::text"),
        ("(date_trunc('day'::text, i) = i)", "date_trunc('day'::text, i) = i"),
        ("(EXTRACT(year FROM j) > (2000)::numeric)", "EXTRACT(year FROM j) > 2000::numeric"),
        ("(SUBSTRING(c FROM 1 FOR 2) = 'ab'::text)", "SUBSTRING(c FROM 1 FOR 2) = 'ab'::text"),
        ("(k > ('10000000000'::numeric)::double precision)", "k > '10000000000'::numeric::double precision"),
        (
            "(((k * (2.5)::double precision) + (e)::double precision) > (3)::double precision)",
            "(k * 2.5::double precision + e::double precision) > 3::double precision",
        ),
        ("(upper((c || (d)::text)) = c)", "upper(c || d::text) = c"),
        ("(length((d)::text) <= 10)", "length(d::text) <= 10"),
        ("((a # b) = 1)", "(a # b) = 1"),
        ("((a << 2) > b)", "(a << 2) > b"),
        ("((((((a + b) - 1) * 2) / 3) % 4) > 0)", "((a + b - 1) * 2 / 3 % 4) > 0"),
        ("(((a + (b * 2)) - 1) > 0)", "(a + b * 2 - 1) > 0"),
        ("(c <> ALL (ARRAY['a'::text, 'b'::text]))", "c <> ALL (ARRAY['a'::text, 'b'::text])"),
        ("(c !~~ 'x'::text)", "c !~~ 'x'::text"),
        ("(f OR (NOT g))", "f OR NOT g"),
        ("((NOT f) AND (NOT g))", "NOT f AND NOT g"),
        ("(((a > 1) OR (b > 1)) AND ((a < 5) OR (b < 5)))", "(a > 1 OR b > 1) AND (a < 5 OR b < 5)"),
        ("(TRIM(BOTH FROM c) <> ''::text)", "TRIM(BOTH FROM c) <> ''::text"),
        ("(POSITION(('a'::text) IN (c)) > 0)", "POSITION(('a'::text) IN (c)) > 0"),
        ("(a > ANY (ARRAY[1, 2]))", "a > ANY (ARRAY[1, 2])"),
        ("(a <> ALL (ARRAY[1, 2]))", "a <> ALL (ARRAY[1, 2])"),
        ("(((c || 'y'::text) || (d)::text) = 'z'::text)", "((c || 'y'::text) || d::text) = 'z'::text"),
        ("((h[1] || c) = 'x'::text)", "(h[1] || c) = 'x'::text"),
        (
            "((i AT TIME ZONE 'UTC'::text) > '2020-01-01 00:00:00'::timestamp without time zone)",
            "(i AT TIME ZONE 'UTC'::text) > '2020-01-01 00:00:00'::timestamp without time zone",
        ),
        ("((i + '1 day'::interval) > now())", "(i + '1 day'::interval) > now()"),
        ("(((a)::numeric / (3)::numeric) > e)", "(a::numeric / 3::numeric) > e"),
        ("((a > b) = (b > 1))", "(a > b) = (b > 1)"),
        ("((a IS NULL) = (b IS NULL))", "(a IS NULL) = (b IS NULL)"),
        ("((NOT f) = g)", "(NOT f) = g"),
        (
            "\nCASE\n    WHEN (a > 0) THEN (b > 1)\n    ELSE f\nEND",
            "\nCASE\n    WHEN a > 0 THEN b > 1\n    ELSE f\nEND",
        ),
        (
            "(\nCASE a\n    WHEN 1 THEN 'x'::text\n    ELSE NULL::text\nEND = c)",
            "\nCASE a\n    WHEN 1 THEN 'x'::text\n    ELSE NULL::text\nEND = c",
        ),
    ];

    #[test]
    fn as_postgresql_does() {
        for (safe, pretty) in FORMS {
            assert_eq!(pretty_expression(safe), *pretty, "{safe}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in ["", "(", ")", "((", "a ] [", "'", "(a", "[(])", "::", "a AND", "é(ü)"] {
            let _ = pretty_expression(text);
        }
    }
}
