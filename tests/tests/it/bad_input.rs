//! What no client should send: the server says what is wrong, goes on where it can, and others notice nothing.

use crate::server::Server;
use crate::wire::{Wire, message, startup};

/// No UTF-8.
const BAD: &[u8] = b"a\xffb";
const BAD_TEXT: &str = "22021 invalid byte sequence for encoding \"UTF8\": 0xff";

fn errors(answers: &[String]) -> Vec<&str> {
    answers.iter().filter_map(|line| line.strip_prefix("ERROR ")).collect()
}

#[test]
fn text_that_is_not_utf8_is_refused_wherever_it_stands() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.query("create table t (a text)").answers();
    let literal = [b"select '", BAD, b"'"].concat();
    let array = [&b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01\0\0\0\x03"[..], BAD].concat();
    let takes_text = |c: &mut Wire, ty: &str| {
        c.parse("", format!("select $1::{ty}"), &[]);
    };
    type Say<'a> = Box<dyn Fn(&mut Wire) + 'a>;
    let cases: Vec<(&str, Say<'_>)> = vec![
        ("query", Box::new(|c| _ = c.query(&literal))),
        ("parse", Box::new(|c| _ = c.parse("", &literal, &[]).sync())),
        ("statement name", Box::new(|c| _ = c.parse(BAD, "select 1", &[]).sync())),
        ("portal name", Box::new(|c| _ = c.parse("", "select 1", &[]).bind(BAD, "", &[]).sync())),
        ("bound statement", Box::new(|c| _ = c.bind("", BAD, &[]).sync())),
        ("described portal", Box::new(|c| _ = c.describe_portal(BAD).sync())),
        ("executed portal", Box::new(|c| _ = c.execute(BAD, 0).sync())),
        (
            "text parameter",
            Box::new(|c| {
                takes_text(c, "text");
                c.bind("", "", &[(0, BAD)]).sync();
            }),
        ),
        (
            "binary parameter",
            Box::new(|c| {
                takes_text(c, "varchar");
                c.bind("", "", &[(1, BAD)]).sync();
            }),
        ),
        (
            "json parameter",
            Box::new(|c| {
                takes_text(c, "json");
                c.bind("", "", &[(1, BAD)]).sync();
            }),
        ),
        (
            "array parameter",
            Box::new(|c| {
                takes_text(c, "text[]");
                c.bind("", "", &[(1, &array)]).sync();
            }),
        ),
    ];
    for (place, say) in cases {
        say(&mut c);
        let answers = c.answers();
        assert_eq!(errors(&answers), [BAD_TEXT], "{place}: {answers:?}");
        assert_eq!(answers.last().expect("an answer"), "ready I", "{place}");
    }
    let zero = "22021 invalid byte sequence for encoding \"UTF8\": 0x00";
    for format in [0, 1] {
        takes_text(&mut c, "text");
        assert_eq!(errors(&c.bind("", "", &[(format, b"a\0b")]).sync().answers()), [zero]);
    }

    let binary = [&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x03"[..], BAD, b"\xff\xff"].concat();
    for (options, data, expected) in [
        ("", &b"good\na\xffb\n"[..], BAD_TEXT),
        ("csv", b"good\n\"a\xffb\"\n", BAD_TEXT),
        ("binary", &binary, BAD_TEXT),
        ("", b"good\n\\xff\n", BAD_TEXT),
        ("", b"good\na\0b\n", zero),
        ("csv", b"good\na\0b\n", zero),
        ("", b"good\na\\000b\n", zero),
    ] {
        c.query(format!("copy t from stdin {options}")).answers();
        let answers = c.bytes(&message(b'd', data)).bytes(&message(b'c', b"")).answers();
        assert_eq!(answers, [format!("ERROR {expected}"), "ready I".to_owned()], "{options} {data:?}");
    }
    assert_eq!(c.query("select count(*) from t").answers()[0], "row 0");

    for parameters in
        [[(&b"user"[..], BAD), (b"database", b"postgres")], [(b"user", b"postgres"), (b"database", BAD)]]
    {
        let answers = Wire::open(&server).bytes(&startup(&parameters)).answers();
        assert_eq!(answers, [format!("FATAL {BAD_TEXT}"), "closed".to_owned()]);
    }
}

#[test]
fn messages_that_make_no_sense_fail_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    c.parse("one", "select $1::int4", &[]).sync().answers();
    let mut refused = |say: &dyn Fn(&mut Wire), expected: &str| {
        say(&mut c);
        let answers = c.sync().answers();
        assert_eq!(errors(&answers), [expected], "{answers:?}");
        assert_eq!(answers.last().expect("an answer"), "ready I");
    };
    refused(
        &|c| _ = c.bind("", "one", &[]),
        "08P01 bind message supplies 0 parameters, but prepared statement \"one\" requires 1",
    );
    refused(
        &|c| _ = c.bind("", "one", &[(0, b"1"), (0, b"2")]),
        "08P01 bind message supplies 2 parameters, but prepared statement \"one\" requires 1",
    );
    refused(&|c| _ = c.bind("", "one", &[(7, b"1")]), "22023 unsupported format code: 7");
    refused(&|c| _ = c.bind("", "one", &[(1, b"\0\0")]), "08P01 insufficient data left in message");
    refused(&|c| _ = c.bind("", "one", &[(1, b"\0\0\0\0\0")]), "22P03 incorrect binary data format");
    refused(&|c| _ = c.bind("", "none", &[]), "26000 prepared statement \"none\" does not exist");
    refused(&|c| _ = c.execute("none", 0), "34000 portal \"none\" does not exist");
    refused(&|c| _ = c.describe_portal("none"), "34000 portal \"none\" does not exist");
    refused(&|c| _ = c.parse("one", "select 1", &[]), "42P05 prepared statement \"one\" already exists");
    // Counts that the message does not hold.
    refused(
        &|c| _ = c.bytes(&message(b'B', b"\0one\0\0\0\xff\xff")),
        "08P01 insufficient data left in message",
    );
    refused(
        &|c| _ = c.bytes(&message(b'P', b"\0select 1\0\xff\xff")),
        "08P01 insufficient data left in message",
    );
    // An array that claims two thousand million elements.
    c.parse("list", "select $1::int4[]", &[]).sync().answers();
    let claim = b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01";
    let answers = c.bind("", "list", &[(1, claim)]).execute("", 0).sync().answers();
    assert_eq!(errors(&answers).len(), 1, "{answers:?}");

    for (length, body) in [(3u32, &b""[..]), (u32::MAX, b""), (0x7fff_ffff, b"select 1")] {
        let answers =
            Wire::connect(&server).bytes(&[b"Q", &length.to_be_bytes()[..], body].concat()).answers();
        assert_eq!(answers, ["FATAL 08P01 invalid message length", "closed"]);
    }
    for (parameter, value, expected) in [
        ("no_such_setting", "1", "42704 unrecognized configuration parameter \"no_such_setting\""),
        ("datestyle", "backwards", "22023 invalid value for parameter \"DateStyle\": \"backwards\""),
    ] {
        let parameters = [(&b"user"[..], &b"postgres"[..]), (parameter.as_bytes(), value.as_bytes())];
        let answers = Wire::open(&server).bytes(&startup(&parameters)).answers();
        assert_eq!(answers, [format!("FATAL {expected}"), "closed".to_owned()]);
    }
    assert_eq!(c.query("select 2").answers(), ["row 2", "SELECT 1", "ready I"]);
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        // Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// Messages of a client that behaves.
    fn conversation(&mut self, c: &mut Wire) {
        let names = ["", "a", "b"];
        let texts = [
            "select 1",
            "select $1::int4, $2::text",
            "select g, md5(g::text) from generate_series(1, 50) g",
            "begin",
            "commit",
            "rollback",
            "create table if not exists f (id int4 primary key, x text)",
            "insert into f select $1::int4 + 1000, $2 on conflict do nothing",
            "update f set x = x || 'x' where id = 3 returning *",
            "select f.id, count(*) from f join f h on f.id >= h.id group by 1 order by 1",
            "declare c scroll cursor for select * from f",
            "fetch 2 from c",
            "copy f from stdin",
            "copy f to stdout",
            "savepoint s",
            "rollback to s",
            "select 1/0",
            "",
        ];
        for _ in 0..1 + self.below(12) {
            let (name, other) = (names[self.below(3)], names[self.below(3)]);
            let text = texts[self.below(texts.len())];
            match self.below(9) {
                0 | 1 => c.query(text),
                2 | 3 => c.parse(name, text, &[]),
                4 => c.bind(name, other, &[(0, b"3"), (self.below(2) as u16, b"text")]),
                5 => c.bind(name, other, &[]),
                6 => c.describe_portal(name).execute(name, self.below(3) as u32),
                7 => c.bytes(&message(b'd', b"7\tseven\n")).bytes(&message(b'c', b"")),
                _ => c.sync(),
            };
        }
        c.sync();
    }

    fn damage(&mut self, stream: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(stream.len().max(1));
            match self.below(4) {
                0 if !stream.is_empty() => stream[at] = self.below(256) as u8,
                1 => stream.truncate(at),
                2 => {
                    let bytes: Vec<u8> = (0..1 + self.below(8)).map(|_| self.below(256) as u8).collect();
                    stream.splice(at..at, bytes);
                }
                _ => drop(stream.drain(at..(at + self.below(8)).min(stream.len()))),
            }
        }
    }
}

#[test]
fn damaged_conversations_end_and_disturb_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut numbers = Numbers(2026);
    let mut bystander = Wire::connect(&server);
    for round in 0..600 {
        let mut c = Wire::connect(&server);
        numbers.conversation(&mut c);
        numbers.damage(c.to_send());
        let answers = c.last_answers();
        assert_eq!(answers.last().map(String::as_str), Some("closed"), "round {round}: {answers:?}");
        // How a panic of the server would look.
        assert!(!answers.iter().any(|line| line.contains(" XX")), "round {round}: {answers:?}");
        assert_eq!(bystander.query("select 1").answers(), ["row 1", "SELECT 1", "ready I"], "round {round}");
    }
}

#[test]
fn what_is_too_wide_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut c = Wire::connect(&server);
    let ones = |n: usize| vec!["1"; n].join(",");
    let columns =
        |n: usize, suffix: &str| (0..n).map(|i| format!("c{i}{suffix}")).collect::<Vec<_>>().join(",");
    let named = (0..1601).map(|i| format!("1 c{i}")).collect::<Vec<_>>().join(",");
    assert_eq!(errors(&c.query(format!("create table wide ({})", columns(1600, " int"))).answers()), [""; 0]);
    assert_eq!(errors(&c.query(format!("select {}", ones(1664))).answers()), [""; 0]);
    let targets = "54011 target lists can have at most 1664 entries";
    let table = "54011 tables can have at most 1600 columns";
    let index = "54011 cannot use more than 32 columns in an index";
    let cases = [
        (format!("select {}", ones(1665)), targets),
        (format!("select count(*) from (select {}) x", ones(1700)), targets),
        (format!("values ({})", ones(1665)), targets),
        ("select * from wide a, wide b".to_owned(), targets),
        (format!("select row({})", ones(1665)), "54011 ROW expressions can have at most 1664 entries"),
        (format!("select concat({})", ones(101)), "54023 cannot pass more than 100 arguments to a function"),
        (format!("create table wider ({})", columns(1601, " int")), table),
        ("create table wider (like wide, z int)".to_owned(), table),
        (format!("create table wider as select {named}"), table),
        (format!("create view wider as select {named}"), table),
        ("alter table wide add z int".to_owned(), table),
        ("alter table wide drop c0, add z int".to_owned(), table),
        (format!("create index on wide ({})", columns(33, "")), index),
        (format!("create table keyed ({}, unique ({}))", columns(33, " int"), columns(33, "")), index),
    ];
    for (sql, expected) in cases {
        assert_eq!(errors(&c.query(&sql).answers()), [expected], "{}", &sql[..sql.len().min(60)]);
    }
}
