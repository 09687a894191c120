//! Hash buckets: what is spread over them answers as what is not, row by row and in the same order, and lies in shards
//! of its own.

use crate::server::Server;
use crate::shards::{rows, shards, start};
use crate::wire::Wire;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len() as u64) as usize]
    }

    /// A statement about the table `T`, which is (a int, b text, c int, d numeric).
    fn statement(&mut self) -> String {
        let (a, c, d) = (self.below(60), self.below(40), self.below(30));
        let b = self.one_of(&["'x'", "'y'", "'xyz'", "''", "'ü'"]);
        let some = self.one_of(&[
            "",
            "where a = A",
            "where a = A and b = B",
            "where a >= A",
            "where a < A",
            "where a between A - 9 and A",
            "where a = A and b > B",
            "where c = C",
            "where c > C and c <= C + 10",
            "where c in (C, C + 1, C + 5, null)",
            "where c = any (array[C, 3, 3, 99])",
            "where c is null",
            "where d = D / 2.0",
            "where d > D",
            "where d < D",
            "where (a, b) in ((A, B), (A + 1, 'x'), (1, 'y'))",
            "where a in (A, A + 1, 7) and b = B",
        ]);
        let order = self.one_of(&[
            "",
            "order by a, b",
            "order by a desc, b desc",
            "order by b",
            "order by c, a, b",
            "order by c desc, a, b",
            "order by d desc nulls last",
            "order by d nulls first",
        ]);
        let part = self.one_of(&["", "", "limit 1", "limit 7", "limit 3 offset 5", "offset 20"]);
        let statement = match self.below(20) {
            0..=4 => "insert into T values (A, B, C, D) on conflict do nothing returning *".to_owned(),
            5 => "insert into T values (A, B, C, D) on conflict (a, b) do update set c = excluded.c + 1".to_owned(),
            6 => "insert into T select A + i, B, nullif(C, i), i + D / 4.0 from generate_series(1, 8) i on conflict do nothing"
                .to_owned(),
            7 => format!("update T set c = C {some}"),
            8 => format!("update T set a = a + 100 {some}"),
            9 => format!("update T set d = null {some}"),
            10 => "delete from T where a = A returning *".to_owned(),
            11 => format!("select count(*), sum(c), max(a) from T {some}"),
            12 => format!("select a, b from T {some} {order} {part} for update"),
            13 => format!(
                "begin; declare k scroll cursor for select * from T {some} {order}; fetch 4 from k; fetch backward 2 from k; \
                 fetch last from k; fetch backward 3 from k; commit"
            ),
            14 => format!("begin; update T set c = c + 1 {some}; select * from T {order} {part}; rollback"),
            15 => format!("select x.a, y.b from T x join T y on y.a = x.c where x.a > A order by 1, 2 {part}"),
            _ => format!("select * from T {some} {order} {part}"),
        };
        let values = [("A", a.to_string()), ("B", b.to_owned()), ("C", c.to_string()), ("D", d.to_string())];
        values.iter().fold(statement, |sql, (name, value)| replace_word(&sql, name, value))
    }
}

/// Replaces a letter that stands alone.
fn replace_word(sql: &str, name: &str, value: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '\'' || c == '_');
    let mut out = String::new();
    for (at, c) in sql.char_indices() {
        let alone = !is_word(out.chars().last().filter(|_| at > 0))
            && !is_word(sql[at + 1.min(c.len_utf8())..].chars().next());
        if c.to_string() == name && alone { out.push_str(value) } else { out.push(c) }
    }
    out
}

#[test]
fn what_is_spread_answers_as_what_is_not() {
    const TABLES: [(&str, &str); 2] = [("plain", "1"), ("spread", "5")];
    let (directory, mut server, mut c) = start();
    for key in ["constraint T_key primary key (a, b)", "constraint T_key unique (a, b)"] {
        for (table, buckets) in TABLES {
            let make = format!(
                "set default_buckets = {buckets}; create table T (a int, b text, c int, d numeric, {key});
                 create index T_c on T (c); create unique index T_d on T (d desc, a)"
            );
            c.query(make.replace('T', table)).answers();
        }
        let mut numbers = Numbers(20 + key.len() as u64);
        for number in 0..300 {
            let statement = numbers.statement();
            let mut answer = |table: &str| -> Vec<String> {
                let answers = c.query(replace_word(&statement, "T", table)).answers();
                answers.into_iter().map(|line| line.replace(table, "T")).collect()
            };
            assert_eq!(answer("spread"), answer("plain"), "{number}: {statement}");
            if number == 150 {
                server.kill();
                server = Server::start(directory.path());
                c = Wire::connect(&server);
            }
        }
        c.query("drop table spread; drop table plain").answers();
    }
}

#[test]
fn buckets_begin_with_shards_of_their_own() {
    let (_directory, _server, mut c) = start();
    c.query("create table t (id int primary key, v text) with (buckets = 3)").answers();
    let parts = ["- .. bucket 1", "bucket 1 .. bucket 2", "bucket 2 .. -"];
    assert_eq!(shards(&mut c, "from table t"), parts);
    assert_eq!(shards(&mut c, "from index t_pkey"), parts);
    c.query(
        "create index i on t (v) with (buckets = 2, fillfactor = 70); create unique index u on t (v, id)",
    )
    .answers();
    assert_eq!(shards(&mut c, "from index i"), ["- .. bucket 1", "bucket 1 .. -"]);
    assert_eq!(shards(&mut c, "from index u"), ["- .. -"]);
    c.query("alter table t split at values (10)").answers();
    let split = [
        "- .. bucket 0 (10)",
        "bucket 0 (10) .. bucket 1",
        "bucket 1 .. bucket 1 (10)",
        "bucket 1 (10) .. bucket 2",
        "bucket 2 .. bucket 2 (10)",
        "bucket 2 (10) .. -",
    ];
    assert_eq!(shards(&mut c, "from table t"), split);
    assert!(shards(&mut c, "").contains(&"public.t bucket 2 (10) .. public.i".to_owned()));
    // What is rolled back makes none.
    let before = shards(&mut c, "").len();
    c.query("begin; create table gone (a int) with (buckets = 9); insert into gone values (1); rollback")
        .answers();
    assert_eq!(shards(&mut c, "").len(), before);
    c.query("begin; create table loose (a int) with (buckets = 2); insert into loose values (1); commit")
        .answers();
    assert_eq!(shards(&mut c, "from table loose"), ["- .. bucket 1", "bucket 1 .. -"]);
    c.query("truncate loose").answers();
    assert_eq!(shards(&mut c, "from table loose"), ["- .. bucket 1", "bucket 1 .. -"]);
}

#[test]
fn who_says_buckets_is_shown_them_and_who_does_not_gets_the_default() {
    let (_directory, _server, mut c) = start();
    c.query("set default_buckets = 2").answers();
    let count = |c: &mut Wire, of: &str| shards(c, of).len();
    c.query("create table t (a int primary key, b int unique) with (buckets = 3, fillfactor = 50)").answers();
    c.query("create index i on t (b) with (buckets = '4') where b > 0; create index j on t (b)").answers();
    c.query("create table other (like t including all)").answers();
    c.query("create table made with (buckets = 1) as select 1 a; create table d as select 1 a").answers();
    c.query("create table k (a int, primary key (a) with (buckets = 5))").answers();
    for (of, shards) in [
        ("table t", 3),
        ("index t_pkey", 3),
        ("index t_b_key", 2),
        ("index i", 4),
        ("index j", 2),
        ("table other", 2),
        ("index other_b_idx", 4),
        ("index other_b_idx1", 2),
        ("table made", 1),
        ("table d", 2),
        ("table k", 5),
    ] {
        assert_eq!(count(&mut c, &format!("from {of}")), shards, "{of}");
    }
    c.query("alter table made add primary key (a); alter table d add primary key (a) with (buckets = 6)")
        .answers();
    assert_eq!((count(&mut c, "from table made"), count(&mut c, "from table d")), (1, 6));
    let options = "select relname, reloptions from pg_class where reloptions is not null and relnamespace = 2200 order by 1";
    assert_eq!(
        rows(&mut c, options),
        [
            "d_pkey|{buckets=6}",
            "i|{buckets=4}",
            "k_pkey|{buckets=5}",
            "made|{buckets=1}",
            "other_b_idx|{buckets=4}",
            "t|{buckets=3,fillfactor=50}"
        ]
    );
    assert_eq!(
        rows(&mut c, "select pg_get_indexdef('i'::regclass)"),
        ["CREATE INDEX i ON public.t USING btree (b) WITH (buckets='4') WHERE (b > 0)"]
    );
    assert_eq!(rows(&mut c, "show default_buckets"), ["2"]);
    for (sql, error) in [
        ("alter table t set (buckets = 3)", "0A000 the number of buckets cannot be changed"),
        ("alter table t reset (buckets)", "0A000 the number of buckets cannot be changed"),
        ("alter index i set (buckets = 3)", "0A000 the number of buckets cannot be changed"),
        ("create table x (a int) with (buckets = 0)", "22023 value 0 out of bounds for option \"buckets\""),
        (
            "create table x (a int) with (buckets = 257)",
            "22023 value 257 out of bounds for option \"buckets\"",
        ),
        (
            "create index x on t (a) with (buckets = a)",
            "22023 invalid value for integer option \"buckets\": a",
        ),
        ("create index x on t (a) with (bucket = 2)", "22023 unrecognized parameter \"bucket\""),
        (
            "create table x (a int, primary key (a) with (buckets = 2)) with (buckets = 3)",
            "22023 table \"x\" and its primary key \"x_pkey\" have different numbers of buckets",
        ),
        (
            "set default_buckets = 0",
            "22023 0 is outside the valid range for parameter \"default_buckets\" (1 .. 256)",
        ),
    ] {
        assert_eq!(rows(&mut c, sql), [format!("ERROR {error}")], "{sql}");
    }
}

#[test]
fn keys_and_references_hold_over_buckets() {
    let (_directory, _server, mut c) = start();
    c.query("set default_buckets = 4").answers();
    c.query(
        "create table parent (a int, b text, primary key (a, b), u numeric unique deferrable initially deferred);
         create table child (id int primary key, a int, b text, foreign key (a, b) references parent on update cascade
             on delete cascade);
         create index on child (b, a); create unique index nn on child ((a + 0), b) nulls not distinct where id < 0",
    )
    .answers();
    c.query("insert into parent select i, 'p' || i, i from generate_series(1, 50) i").answers();
    c.query("insert into child select i, i % 50 + 1, 'p' || i % 50 + 1 from generate_series(1, 500) i")
        .answers();
    for (sql, answer) in [
        (
            "insert into child values (501, 51, 'p51')",
            "ERROR 23503 insert or update on table \"child\" violates foreign key constraint \"child_a_b_fkey\"",
        ),
        (
            "insert into parent values (7, 'p7', 0)",
            "ERROR 23505 duplicate key value violates unique constraint \"parent_pkey\"",
        ),
        (
            "insert into parent values (107, 'p7', 7.00)",
            "ERROR 23505 duplicate key value violates unique constraint \"parent_u_key\"",
        ),
        (
            "insert into child values (-1), (-2)",
            "ERROR 23505 duplicate key value violates unique constraint \"nn\"",
        ),
    ] {
        assert_eq!(rows(&mut c, sql), [answer], "{sql}");
    }
    c.query("begin; update parent set u = u + 1; commit; update parent set a = a + 1000 where a = 7")
        .answers();
    c.query("delete from parent where a = 8").answers();
    assert_eq!(rows(&mut c, "select count(*), sum(u) from parent"), ["49|1316"]);
    assert_eq!(rows(&mut c, "select count(*), count(*) filter (where a = 1007) from child"), ["490|10"]);
    for sql in [
        "alter table child add column w int default 3",
        "create index concurrently w on child (w)",
        "create index concurrently on child (b, w)",
    ] {
        assert_eq!(rows(&mut c, sql), [""; 0], "{sql}");
    }
    c.query("alter table parent alter column u type int8").answers();
    c.query("vacuum analyze").answers();
    assert_eq!(rows(&mut c, "select count(*) from child where w = 3"), ["490"]);
    c.query("alter table child drop constraint child_pkey; reindex table child").answers();
    assert_eq!(rows(&mut c, "select count(*), min(id), max(id) from child where b >= ''"), ["490|1|500"]);
    c.query("copy (select id, a, b, w from child) to stdout").answers();
    c.query("truncate parent cascade").answers();
    assert_eq!(rows(&mut c, "select (select count(*) from parent), (select count(*) from child)"), ["0|0"]);
}
