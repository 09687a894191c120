//! COPY FROM: which of several errors is reported, and with what CONTEXT. Expected results are those of PostgreSQL 18.

use crate::server::Server;
use crate::wire::{Wire, message};

/// Copies lines; answers the outcome and an error's CONTEXT.
fn copy(c: &mut Wire, statement: &str, lines: &[String]) -> (String, String) {
    let started = c.query(statement).answers();
    assert_eq!(started, ["copy in"], "{statement}");
    // A piece for some lines, as drivers send it: pieces have nothing to do with rows.
    for piece in lines.chunks(7) {
        let text: String = piece.iter().map(|line| format!("{line}\n")).collect();
        c.bytes(&message(b'd', text.as_bytes()));
    }
    let answers = c.bytes(&message(b'c', b"")).answers();
    assert_eq!(answers.last().map(String::as_str), Some("ready I"), "{answers:?}");
    (answers[0].clone(), c.error_field(b'W'))
}

fn lines(data: &[&str]) -> Vec<String> {
    data.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_error_is_the_one_that_postgresql_finds_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query(
        "create table strict (id int primary key, v text not null, c int check (c > 0) default 7, g int unique);
         create table random (id int primary key, u int, x float8 default random());
         create table other (id int references strict (id))",
    )
    .answers();
    let duplicate =
        |table: &str| format!("ERROR 23505 duplicate key value violates unique constraint \"{table}_pkey\"");
    let text = "ERROR 22P02 invalid input syntax for type integer: \"zz\"".to_owned();
    let null = "ERROR 23502 null value in column \"v\" of relation \"strict\" violates not-null constraint";
    let check = "ERROR 23514 new row for relation \"strict\" violates check constraint \"strict_c_check\"";
    let foreign =
        "ERROR 23503 insert or update on table \"other\" violates foreign key constraint \"other_id_fkey\"";
    for (statement, data, error, context) in [
        // What rows have in common is found when they are inserted, many at once; the text is gone by then.
        (
            "strict (id, v)",
            &["3\tc", "4\td", "3\tdup", "9\tx"][..],
            duplicate("strict"),
            "COPY strict, line 3",
        ),
        ("strict (id, v)", &["3\tc", "4\t\\N"], null.to_owned(), "COPY strict, line 2: \"4\t\\N\""),
        (
            "strict (id, v, c)",
            &["3\tc\t1", "3\tx\t1", "4\td\t0"],
            check.to_owned(),
            "COPY strict, line 3: \"4\td\t0\"",
        ),
        (
            "strict (id, v, c)",
            &["3\tc\t1", "3\tx\t1", "zz\td\t0"],
            text,
            "COPY strict, line 3, column id: \"zz\"",
        ),
        (
            "strict (id, v) where id > 3",
            &["3\tc", "3\tx", "4\tx", "4\tx"],
            duplicate("strict"),
            "COPY strict, line 4",
        ),
        ("other", &["1"], foreign.to_owned(), ""),
        // With a volatile default each row is inserted before the next one is read.
        ("random (id, u)", &["1\t1", "1\t2", "2\tx"], duplicate("random"), "COPY random, line 2: \"1\t2\""),
        (
            "random where 1 / (id - 5) < 3",
            &["4\t1\t1", "4\t1\t1", "5\t1\t1"],
            "ERROR 22012 division by zero".to_owned(),
            "COPY random, line 3: \"5\t1\t1\"",
        ),
    ] {
        let (relation, condition) = statement.split_once(" where ").unwrap_or((statement, "true"));
        let sql = format!("copy {relation} from stdin where {condition}");
        assert_eq!(copy(&mut c, &sql, &lines(data)), (error, context.to_owned()), "{statement}");
    }
    for table in ["strict", "random", "other"] {
        assert_eq!(c.query(format!("select count(*) from {table}")).answers()[0], "row 0", "{table}");
    }
}

#[test]
fn rows_are_inserted_a_thousand_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query(
        "create table many (id int primary key, v text not null check (v <> 'no'), n serial unique,
                            w text generated always as (v || '!') stored)",
    )
    .answers();
    let many = |count: usize, changed: &[(usize, &str)]| {
        let mut lines: Vec<String> = (1..=count).map(|id| format!("{id}\tv{id}")).collect();
        for (line, text) in changed {
            lines[line - 1] = (*text).to_owned();
        }
        lines
    };
    let duplicate = "ERROR 23505 duplicate key value violates unique constraint \"many_pkey\"";
    let text = "ERROR 22P02 invalid input syntax for type integer: \"x\"";
    let check = "ERROR 23514 new row for relation \"many\" violates check constraint \"many_v_check\"";
    let long = format!("4\t{}", "long".repeat(20_000));
    for (lines, error, context) in [
        (many(1500, &[(1001, "5\tdup"), (1400, "x\tbad")]), text, "COPY many, line 1400, column id: \"x\""),
        (many(1500, &[(500, "5\tdup"), (1400, "x\tbad")]), duplicate, "COPY many, line 500"),
        (many(1500, &[(500, "5\tdup"), (900, "900\tno")]), check, "COPY many, line 900: \"900\tno\""),
        // Or as soon as they are 64 kB.
        (many(30, &[(5, &long), (7, "x\tbad")]), duplicate, "COPY many, line 5"),
    ] {
        let outcome = copy(&mut c, "copy many (id, v) from stdin", &lines);
        assert_eq!(outcome, (error.to_owned(), context.to_owned()));
    }
    let (copied, _) = copy(&mut c, "copy many (id, v) from stdin", &many(2500, &[]));
    assert_eq!(copied, "COPY 2500");
    let sums =
        "select count(*), min(id), max(id), sum(id), max(n) - min(n), bool_and(w = v || '!') from many";
    assert_eq!(c.query(sums).answers()[0], "row 2500|1|2500|3126250|2499|t");
    let found = "select id from many where n = (select n from many where id = 1234)";
    assert_eq!(c.query(found).answers()[0], "row 1234");
}
