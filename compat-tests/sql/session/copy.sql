-- COPY in text and CSV, both ways.
CREATE TABLE t (id int, name text, n numeric(6, 2), at date, ok bool);
COPY t FROM STDIN;
1	one	1.50	2024-01-01	t
2	tab\there	\N	2024-02-01	f
3	\N	3	\N	\N
4	back\\slash	4.005	infinity	true
\.
SELECT * FROM t ORDER BY id;
COPY t TO STDOUT;
COPY t (id, name) TO STDOUT;
COPY t (name, id) FROM STDIN WITH (DELIMITER '|', NULL 'nil');
five|5
nil|6
\.
COPY (SELECT id, name FROM t WHERE id > 4 ORDER BY id) TO STDOUT;
COPY t FROM STDIN (FORMAT csv);
7,"quoted, ""text""",7.7,2024-07-07,true
8,,8,,
9,"",9,,f
\.
COPY (SELECT id, name FROM t WHERE id BETWEEN 7 AND 9 ORDER BY id) TO STDOUT (FORMAT csv);
COPY (SELECT id, name, n FROM t ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER);
COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT WITH CSV DELIMITER ';' QUOTE '''' FORCE QUOTE *;
COPY t (id, name) FROM STDIN WITH (FORMAT csv, HEADER true, NULL 'NULL');
id,name
10,NULL
11,"NULL"
\.
SELECT id, name IS NULL FROM t WHERE id >= 10 ORDER BY id;
COPY t FROM STDIN;
x	bad	1	2024-01-01	t
\.
COPY t FROM STDIN;
12	too few
\.
COPY t FROM STDIN;
12	too	1	2024-01-01	t	many
\.
COPY t (id) FROM STDIN;
99999999999
\.
COPY t (id, at) FROM STDIN (FORMAT csv);
13,2024-02-30
\.
COPY t (id, name) FROM STDIN (FORMAT csv);
14,"unterminated
\.
COPY t (id, n) FROM STDIN;
15	123456
\.
SELECT count(*) FROM t;
COPY t (id, nope) FROM STDIN;
COPY nope FROM STDIN;
COPY nope TO STDOUT;
COPY t TO STDOUT (FORMAT nope);
COPY t TO STDOUT (DELIMITER 'ab');
COPY t TO STDOUT (NOPE 1);
COPY t TO STDOUT (FORMAT csv, FORMAT csv);
COPY t TO STDOUT (QUOTE 'x');
COPY (SELECT 1, NULL, '', 'a,b', E'new\nline', E'tab\t', E'back\\') TO STDOUT;
COPY (SELECT 1, NULL, '', 'a,b', 'q"q', E'new\nline', ' lead') TO STDOUT CSV;
COPY (SELECT true, 1.5::float8, '\x00ff'::bytea, ARRAY['a', NULL], date '2024-01-01', interval '1 day') TO STDOUT;
COPY (VALUES (1, 'x'), (2, NULL)) TO STDOUT (NULL 'none');
COPY (INSERT INTO t (id) VALUES (20) RETURNING id) TO STDOUT;
COPY (DELETE FROM t WHERE id = 20) TO STDOUT;
COPY (SELECT nope) TO STDOUT;
CREATE TABLE strict (id int PRIMARY KEY, v text NOT NULL, c int CHECK (c > 0) DEFAULT 7);
COPY strict (id, v) FROM STDIN;
1	a
2	b
\.
COPY strict (id, v) FROM STDIN;
3	c
1	dup
\.
COPY strict (id, v) FROM STDIN;
4	\N
\.
COPY strict FROM STDIN;
5	e	-1
\.
COPY strict FROM STDIN WITH (DEFAULT '\D');
6	f	\D
\.
COPY strict FROM STDIN WHERE id > 7;
7	g	1
8	h	2
\.
SELECT * FROM strict ORDER BY id;
COPY strict (v) FROM STDIN;
no id
\.
BEGIN;
COPY strict (id, v) FROM STDIN;
50	tx
\.
ROLLBACK;
SELECT count(*) FROM strict;
COPY strict TO STDOUT WITH (FORMAT text, HEADER, DELIMITER ',');
COPY strict (id, v) FROM STDIN (FREEZE off, FORMAT csv, FORCE_NOT_NULL (v));
60,
\.
COPY strict (id, v) FROM STDIN (ON_ERROR ignore);
zz	bad
61	good
\.
SELECT id, v FROM strict WHERE id >= 60 ORDER BY id;
DROP TABLE t, strict;

-- DEFAULT, ON_ERROR, REJECT_LIMIT, LOG_VERBOSITY
CREATE TABLE lenient (id int PRIMARY KEY, a int DEFAULT 5, b text DEFAULT 'x', c date);
COPY lenient FROM STDIN WITH (DEFAULT '\D');
1	\D	\D	\N
2	\D	q	2020-01-01
\.
COPY lenient FROM STDIN WITH (FORMAT csv, DEFAULT 'D', ON_ERROR ignore);
3,D,"D",2020-01-01
x,1,2,
4,zz,k,
5,5,k,not-a-date
6,,,
\.
COPY lenient FROM STDIN (ON_ERROR ignore, LOG_VERBOSITY verbose);
7	1	a	\N
bad	1	b	\N
\.
COPY lenient FROM STDIN (ON_ERROR ignore, REJECT_LIMIT 1);
8	1	a	\N
bad	1	b	\N
bad	1	b	\N
\.
COPY lenient FROM STDIN (ON_ERROR ignore, LOG_VERBOSITY silent);
9	1	a
\.
COPY lenient FROM STDIN (ON_ERROR ignore);
1	1	a	\N
\.
COPY lenient FROM STDIN (ON_ERROR stop);
bad	1	b	\N
\.
COPY lenient (id) FROM STDIN (DEFAULT 'd');
d
\.
SELECT * FROM lenient ORDER BY id;
COPY lenient TO STDOUT (ON_ERROR ignore);
COPY lenient TO STDOUT (DEFAULT 'x');
COPY lenient TO STDOUT (FORMAT csv, HEADER match);
COPY lenient FROM STDIN (FORMAT binary, ON_ERROR ignore);
COPY lenient FROM STDIN (FORMAT binary, DEFAULT 'x');
COPY lenient FROM STDIN (ON_ERROR nosuch);
COPY lenient FROM STDIN (LOG_VERBOSITY nosuch);
COPY lenient FROM STDIN (REJECT_LIMIT 3);
COPY lenient FROM STDIN (ON_ERROR ignore, REJECT_LIMIT 0);
COPY lenient TO STDOUT (FORCE_QUOTE *);
COPY lenient FROM STDIN (FORCE_NULL *);
COPY lenient FROM STDIN (FORMAT csv, FORCE_QUOTE *);
COPY lenient TO STDOUT (FORMAT csv, FORCE_NULL *);
COPY lenient TO STDOUT (FORMAT csv, FORCE_QUOTE (nosuch));
COPY lenient (id) TO STDOUT (FORMAT csv, FORCE_QUOTE (a));
COPY lenient FROM STDIN (FORMAT csv, DEFAULT E'\n');
COPY lenient FROM STDIN (FORMAT csv, DEFAULT '', NULL '');
COPY lenient FROM STDIN (FORMAT csv, DEFAULT 'a,b');
COPY lenient FROM STDIN (FORMAT csv, DEFAULT 'a"b');
COPY (SELECT 1 INTO nosuch) TO STDOUT;
DROP TABLE lenient;
