//! The grammar against what PostgreSQL 18 answered (`testdata/`), the shapes of trees, and hostile text.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::ast::{
    AExprKind, BoolOp, Const, Expr, FuncCall, IndirectionElem, ResTarget, SelectStmt, SetOp, Statement,
    TableRef, Value,
};
use super::{parse, parse_expression};

/// The paragraphs of a test file, without its heading.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").skip(1).map(str::trim)
}

#[test]
fn what_postgresql_parses_is_parsed() {
    for sql in paragraphs(include_str!("testdata/accepted.sql")) {
        let statements = parse(sql).unwrap_or_else(|e| panic!("{sql}\n{} at {:?}", e.message, e.position));
        assert_eq!(statements.len(), 1, "{sql}");
        let raw = &statements[0];
        let end = (raw.start + raw.len) as usize;
        assert!(sql.is_char_boundary(end) && end <= sql.len(), "{sql}");
    }
}

#[test]
fn what_postgresql_rejects_is_rejected_in_its_words() {
    for case in paragraphs(include_str!("testdata/rejected.sql")) {
        let (sql, expected) = case.rsplit_once("\n=> ").expect("a statement and its error");
        let answer = match parse(sql) {
            Ok(_) => "no error".to_string(),
            Err(e) => {
                format!("{} {} {}", e.sqlstate, e.position.unwrap_or(0), e.message.replace('\n', "\\n"))
            }
        };
        assert_eq!(answer, expected, "{sql}");
    }
}

/// An expression with all its parentheses.
fn shape(expr: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(shape).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Const(Const { value, .. }) => match value {
            Value::Integer(n) => n.to_string(),
            Value::Float(text) => format!("{text}f"),
            Value::String(text) => format!("'{text}'"),
            Value::BitString(text) => format!("bits {text}"),
            Value::Boolean(value) => value.to_string(),
            Value::Null => "null".into(),
        },
        Expr::ColumnRef(c) => {
            let mut text = c.names.join(".");
            if c.star {
                text.push_str(if text.is_empty() { "*" } else { ".*" });
            }
            text
        }
        Expr::ParamRef(p) => format!("${}", p.number),
        Expr::AExpr(e) => {
            let mut op = e.name.join(".");
            if e.kind != AExprKind::Op {
                op = format!("{:?}[{op}]", e.kind);
            }
            let right = e.right.as_ref().map_or_else(|| format!("({})", list(&e.list)), shape);
            match &e.left {
                Some(left) => format!("({} {op} {right})", shape(left)),
                None => format!("({op} {right})"),
            }
        }
        Expr::BoolExpr(e) => match e.op {
            BoolOp::Not => format!("(not {})", shape(&e.args[0])),
            BoolOp::And => format!("({})", e.args.iter().map(shape).collect::<Vec<_>>().join(" and ")),
            BoolOp::Or => format!("({})", e.args.iter().map(shape).collect::<Vec<_>>().join(" or ")),
        },
        Expr::NullTest(e) => format!("({} is {}null)", shape(&e.arg), if e.negated { "not " } else { "" }),
        Expr::BooleanTest(e) => format!("({} {:?})", shape(&e.arg), e.kind),
        Expr::TypeCast(e) => {
            let mods = if e.type_name.typmods.is_empty() {
                String::new()
            } else {
                format!("({})", list(&e.type_name.typmods))
            };
            let dims = "[]".repeat(e.type_name.array_bounds.len());
            format!("{}::{}{mods}{dims}", shape(&e.arg), e.type_name.names.join("."))
        }
        Expr::CollateClause(e) => {
            format!("({} collate {})", e.arg.as_ref().map(shape).unwrap_or_default(), e.name.join("."))
        }
        Expr::FuncCall(f) => call(f),
        Expr::Indirection(e) => {
            let mut text = format!("({})", shape(&e.arg));
            for step in &e.path {
                match step {
                    IndirectionElem::Field(name) => write!(text, ".{name}").expect("a string"),
                    IndirectionElem::Star => text.push_str(".*"),
                    IndirectionElem::Subscript(i) => write!(text, "[{}]", shape(i)).expect("a string"),
                    IndirectionElem::Slice(a, b) => {
                        let bound = |b: &Option<Expr>| b.as_ref().map(shape).unwrap_or_default();
                        write!(text, "[{}:{}]", bound(a), bound(b)).expect("a string");
                    }
                }
            }
            text
        }
        Expr::RowExpr(e) => format!("row({})", list(&e.args)),
        Expr::ArrayExpr(e) => format!("array[{}]", list(&e.elements)),
        Expr::SubLink(e) => {
            let test =
                e.test.as_ref().map(|t| format!("{} {} ", shape(t), e.op_name.join("."))).unwrap_or_default();
            format!("{test}{:?}(select {})", e.kind, query(&e.subselect))
        }
        other => format!("{other:?}"),
    }
}

fn call(f: &FuncCall) -> String {
    let mut args: Vec<String> = f.args.iter().map(shape).collect();
    if f.star {
        args.push("*".into());
    }
    format!("{}({})", f.name.join("."), args.join(", "))
}

/// A query's select list, or its set operations.
fn query(select: &SelectStmt) -> String {
    match &select.set_op {
        Some(op) => {
            let name = match op.op {
                SetOp::Union => "union",
                SetOp::Intersect => "intersect",
                SetOp::Except => "except",
            };
            format!("({} {name} {})", query(&op.left), query(&op.right))
        }
        None => select.targets.iter().map(|t| shape(&t.value)).collect::<Vec<_>>().join(", "),
    }
}

fn select(sql: &str) -> SelectStmt {
    match parse(sql).expect(sql).remove(0).stmt {
        Statement::Select(select) => *select,
        other => panic!("{other:?}"),
    }
}

fn check(expr: &str, expected: &str) {
    let select = select(&format!("SELECT {expr}"));
    assert_eq!(query(&select), expected, "{expr}");
}

#[test]
fn operators_bind_as_in_postgresql() {
    check("-2 ^ 2", "(-2 ^ 2)");
    check("-a ^ 2", "((- a) ^ 2)");
    check("2 ^ 3 ^ 2", "((2 ^ 3) ^ 2)");
    check("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)");
    check("a || b + c", "(a || (b + c))");
    check("a ->> 'x' = 'y'", "((a ->> 'x') = 'y')");
    check("a < b AND NOT c = d OR e", "(((a < b) and (not (c = d))) or e)");
    check("a AND b AND c OR d OR e", "((a and b and c) or d or e)");
    check("NOT a IS NULL", "(not (a is null))");
    check("a = b IS NOT TRUE", "((a = b) IsNotTrue)");
    check("a IS NULL = b", "((a is null) = b)");
    check("- a::int", "(- a::pg_catalog.int4)");
    check("-1::int2", "(- 1::int2)");
    check("a + b COLLATE \"C\"", "(a + (b collate C))");
    check("@ a + b", "(@ (a + b))");
    check("a @ - b", "(a @ (- b))");
    check("a <-1", "(a < -1)");
    check("a BETWEEN 1 AND 2 AND c", "((a Between[BETWEEN] (1, 2)) and c)");
    check("a LIKE b || c", "(a Like[~~] (b || c))");
    check("a = ANY (b) AND c", "((a OpAny[=] b) and c)");
    check("a NOT IN (1, 2)", "(a In[<>] (1, 2))");
    check("a NOT IN (SELECT 1)", "(not a  Any(select 1))");
    check("a OPERATOR(s.+) b * c", "(a s.+ (b * c))");
    check("x AT TIME ZONE 'a' AT TIME ZONE 'b'", "pg_catalog.timezone('b', pg_catalog.timezone('a', x))");
    check("a * b AT LOCAL", "(a * pg_catalog.timezone(b))");
    check("-2147483648", "-2147483648f");
}

#[test]
fn parentheses_are_told_apart_without_going_back() {
    check("((SELECT 1) + 2)", "(Expr(select 1) + 2)");
    check("((SELECT 1) UNION SELECT 2)", "Expr(select (1 union 2))");
    check("(((SELECT 1)))", "Expr(select 1)");
    check("((SELECT 1), 2)", "row(Expr(select 1), 2)");
    check("((a)), ((a + 1) * 2)", "a, ((a + 1) * 2)");
    check("a IN ((SELECT 1) UNION (SELECT 2))", "a  Any(select (1 union 2))");
    check("a IN ((SELECT 1), 2)", "(a In[=] (Expr(select 1), 2))");
    check("((a).b[1]).c", "(((a)).b[1]).c".replace("((a))", "(a)").as_str());
    let from = |sql: &str| select(sql).from.remove(0);
    assert!(matches!(from("SELECT FROM ((SELECT 1) UNION SELECT 2) x"), TableRef::Subselect(_)));
    assert!(matches!(from("SELECT FROM ((SELECT 1) x CROSS JOIN y) z"), TableRef::Join(_)));
}

#[test]
fn set_operations_bind_as_in_postgresql() {
    let check = |sql, expected| assert_eq!(query(&select(sql)), expected);
    check("SELECT 1 UNION SELECT 2 INTERSECT SELECT 3", "(1 union (2 intersect 3))");
    check("SELECT 1 EXCEPT SELECT 2 UNION SELECT 3", "((1 except 2) union 3)");
    check("SELECT 1 UNION (SELECT 2 EXCEPT SELECT 3)", "(1 union (2 except 3))");
}

#[test]
fn literals_are_decoded() {
    check(
        "'it''s', E'a\\tb\\u00e9\\x41\\101\\\\', $x$a$b$x$, N'n'",
        "'it's', 'a\tb\u{e9}AA\\', 'a$b', 'n'::pg_catalog.bpchar",
    );
    check("'a' -- comment\n 'b''c'", "'ab'c'");
    check("E'a\\'b'\n'\\n'", "'a'b\n'");
    check("U&'d\\0061t\\+000061', U&'d!0061!!' UESCAPE '!'", "'data', 'da!'");
    check("B'01', X'1F'", "bits b01, bits x1F");
    check("1_000, 0xff, 0o17, 0b11, 1_0.5_0e1, 3000000000", "1000, 255, 15, 3, 10.50e1f, 3000000000f");
    check("\"A\"\"b\".Cd, U&\"\\0061\"", "A\"b.cd, a");
    check("$1, $23.a", "$1, ($23).a");
}

#[test]
fn identifiers_are_cut_to_63_bytes_between_characters() {
    let long = format!("{}\u{e9}x", "a".repeat(62));
    assert_eq!(query(&select(&format!("SELECT {long}"))), "a".repeat(62));
    assert_eq!(query(&select(&format!("SELECT \"{long}\""))), "a".repeat(62));
}

#[test]
fn special_calls_become_functions() {
    check("EXTRACT(year FROM a)", "pg_catalog.extract('year', a)");
    check("POSITION('x' IN a)", "pg_catalog.position(a, 'x')");
    check("SUBSTRING(a FOR 2)", "pg_catalog.substring(a, 1, 2::pg_catalog.int4)");
    check("SUBSTRING(a, 2)", "substring(a, 2)");
    check("TRIM(LEADING 'x' FROM a)", "pg_catalog.ltrim(a, 'x')");
    check("TRIM(a)", "pg_catalog.btrim(a)");
    check("(a, b) OVERLAPS (c, d)", "pg_catalog.overlaps(a, b, c, d)");
}

#[test]
fn types_are_mapped() {
    check("a::varchar(3)", "a::pg_catalog.varchar(3)");
    check("a::char, char 'x'", "a::pg_catalog.bpchar(1), 'x'::pg_catalog.bpchar");
    check("a::\"char\"", "a::char");
    check("a::timestamp(3) with time zone[]", "a::pg_catalog.timestamptz(3)[]");
    check("a::float(10), a::float", "a::pg_catalog.float4, a::pg_catalog.float8");
    check("interval '1' day to second(3)", "'1'::pg_catalog.interval(7176, 3)");
    check("s.t '1'", "'1'::s.t");
}

#[test]
fn positions_are_bytes_and_errors_count_characters() {
    let select = select("SELECT 'é', a + b");
    let ResTarget { value, pos, .. } = &select.targets[1];
    assert_eq!((*pos, value.pos(), value.start()), (13, 15, 13));
    assert_eq!(parse("SELECT 'é' FROM FROM").expect_err("two FROMs").position, Some(17));
}

#[test]
fn a_lone_expression_is_all_of_the_text() {
    assert_eq!(shape(&parse_expression("a + 1").expect("an expression")), "(a + 1)");
    for (sql, position) in [("a, b", 2), ("a AS b", 3), ("", 1), ("a;", 2)] {
        assert_eq!(parse_expression(sql).expect_err(sql).position, Some(position), "{sql}");
    }
}

#[test]
fn statements_are_cut_at_semicolons() {
    let raw = parse(";; SELECT 1 ; -- x\n SELECT 'a;b';").expect("two statements");
    let spans: Vec<_> = raw.iter().map(|r| (r.start, r.len)).collect();
    assert_eq!(spans, [(3, 8), (20, 12)]);
    assert!(parse("  -- nothing\n").expect("no statement").is_empty());
}

#[test]
fn deep_nesting_is_an_error_on_a_small_stack() {
    let nests = [
        ("(", ")"),
        ("((SELECT ", "))"),
        ("f(", ")"),
        ("CASE WHEN ", " THEN 1 END"),
        ("a[", "]"),
        ("NOT ", ""),
        ("- ", ""),
        ("1 + ", ""),
        ("(1 + ", ")"),
        ("x IN (", ")"),
        ("(SELECT * FROM (SELECT ", ") x)"),
        ("1 UNION SELECT ", ""),
    ];
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for (open, close) in nests {
            for n in [40, 150, 400, 790, 5_000] {
                let sql = format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
                match parse(&sql) {
                    Ok(statements) => assert_eq!(statements, statements.clone()),
                    Err(e) => assert_eq!(e.sqlstate.to_string(), "54001", "{open} {n}: {}", e.message),
                }
                assert!(n != 40 || parse(&sql).is_ok(), "{open} {n}");
                assert!(n != 5_000 || parse(&sql).is_err(), "{open} {n}");
            }
        }
    });
    worker.expect("a thread").join().expect("no overflow");
    // AND and OR grow in width only.
    parse(&format!("SELECT a {}", "OR a ".repeat(20_000))).expect("a long chain");
}

#[test]
fn text_that_must_be_cut_again_and_again_is_refused_soon() {
    let error = parse(&"SELECT 1..2 ".repeat(20_000)).expect_err("no statement");
    assert_eq!(error.position, Some(9));
}

/// Words and characters from which the soup is made.
const SOUP: &[&str] = &[
    "select",
    "from",
    "where",
    "(",
    ")",
    "(",
    ")",
    ",",
    "*",
    "a",
    "b.c",
    "1",
    "1.5",
    "'x'",
    "\"q\"",
    "=",
    "<",
    "+",
    "-",
    "and",
    "or",
    "not",
    "is",
    "null",
    "in",
    "between",
    "like",
    "case",
    "when",
    "then",
    "else",
    "end",
    "join",
    "on",
    "using",
    "union",
    "all",
    "order",
    "by",
    "limit",
    "with",
    "as",
    "recursive",
    "insert",
    "into",
    "values",
    "update",
    "set",
    "delete",
    "merge",
    "create",
    "table",
    "index",
    "view",
    "function",
    "alter",
    "add",
    "column",
    "drop",
    "type",
    "primary",
    "key",
    "check",
    "default",
    "references",
    "grant",
    "to",
    "copy",
    "explain",
    "begin",
    "commit",
    "over",
    "partition",
    "filter",
    "array",
    "[",
    "]",
    "::",
    "int",
    "$1",
    "row",
    "exists",
    "any",
    "cast",
    "extract",
    "interval",
    "timestamp",
    "time",
    "zone",
    "at",
    ";",
    ".",
    "..",
    "$$",
    "/*",
    "*/",
    "--",
    "\n",
    "'",
    "\"",
    "E'\\",
    "U&'\\00",
    "$t$",
    "0x",
    "1_",
    "@",
    "~",
    "|/",
    "#-",
    "\u{e9}",
    "\\",
    "trigger",
    "sequence",
    "if",
    "exists",
    "for",
    "each",
    "of",
    "role",
    "do",
    "returning",
    "conflict",
    "lateral",
    "grouping",
    "sets",
    "window",
    "rows",
    "unbounded",
    "preceding",
    "collate",
    "operator",
    "within",
    "group",
    "variadic",
    "foreign",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn soup_of_tokens_never_panics(
        words in prop::collection::vec((prop::sample::select(SOUP), prop::bool::ANY), 0..40)
    ) {
        let mut sql = String::new();
        for (word, space) in words {
            sql.push_str(word);
            if space {
                sql.push(' ');
            }
        }
        if let Err(error) = parse(&sql) {
            let position = error.position.unwrap_or(1) as usize;
            prop_assert!(position >= 1 && position <= sql.chars().count() + 1);
        }
    }

    #[test]
    fn any_text_never_panics(sql in "\\PC{0,60}") {
        let _ = parse(&sql);
    }

    #[test]
    fn statements_with_a_token_missing_never_panic(case in 0_usize..200, cut in 0_usize..400, len in 0_usize..20) {
        let cases: Vec<&str> = paragraphs(include_str!("testdata/accepted.sql")).collect();
        let mut chars: Vec<char> = cases[case % cases.len()].chars().collect();
        let from = cut % chars.len().max(1);
        let to = (from + len).min(chars.len());
        chars.drain(from..to);
        let _ = parse(&chars.into_iter().collect::<String>());
    }
}
