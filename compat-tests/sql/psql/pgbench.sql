-- pgbench: what pgbench 15 and 18 send for -i (client-side and -I dtGvp) and for their built-in scripts.
-- Those of the extended protocol are here with their parameters' values in place.

drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers;
create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22));
create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100);
create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100);
create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100);
begin;
truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers;
SELECT relkind FROM pg_catalog.pg_class WHERE oid='pgbench_branches'::pg_catalog.regclass;
copy pgbench_branches from stdin with (freeze on);
1	0	\N
\.
copy pgbench_tellers from stdin with (freeze on);
1	1	0	\N
2	1	0	\N
\.
copy pgbench_accounts from stdin with (freeze on);
1	1	0	
2	1	0	
3	1	0	
\.
commit;
vacuum analyze pgbench_branches;
vacuum analyze pgbench_tellers;
vacuum analyze pgbench_accounts;
vacuum analyze pgbench_history;
alter table pgbench_branches add primary key (bid);
alter table pgbench_tellers add primary key (tid);
alter table pgbench_accounts add primary key (aid);
select * from pgbench_branches order by 1;
select * from pgbench_tellers order by 1;
select * from pgbench_accounts order by 1;

-- -I dtGvp
drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers;
create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22));
create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100);
create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100);
create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100);
begin;
truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers;
insert into pgbench_branches(bid,bbalance) select bid, 0 from generate_series(1, 1) as bid;
insert into pgbench_tellers(tid,bid,tbalance) select tid, (tid - 1) / 10 + 1, 0 from generate_series(1, 10) as tid;
insert into pgbench_accounts(aid,bid,abalance,filler) select aid, (aid - 1) / 100000 + 1, 0, '' from generate_series(1, 1000) as aid;
commit;
vacuum analyze pgbench_branches;
vacuum analyze pgbench_tellers;
vacuum analyze pgbench_accounts;
vacuum analyze pgbench_history;
alter table pgbench_branches add primary key (bid);
alter table pgbench_tellers add primary key (tid);
alter table pgbench_accounts add primary key (aid);

-- every run
select count(*) from pgbench_branches;
select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) left join pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join pg_catalog.pg_inherits as i on (c.oid = i.inhparent) where c.relname = 'pgbench_accounts' and o.n is not null group by 1, 2 order by 1 asc limit 1;
vacuum pgbench_branches;
vacuum pgbench_tellers;
truncate pgbench_history;

-- tpcb-like
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 4023 WHERE aid = 813;
SELECT abalance FROM pgbench_accounts WHERE aid = 813;
UPDATE pgbench_tellers SET tbalance = tbalance + 4023 WHERE tid = 7;
UPDATE pgbench_branches SET bbalance = bbalance + 4023 WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 1, 813, 4023, CURRENT_TIMESTAMP);
END;
-- simple-update
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + -2352 WHERE aid = 360;
SELECT abalance FROM pgbench_accounts WHERE aid = 360;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 1, 360, -2352, CURRENT_TIMESTAMP);
END;
-- select-only
SELECT abalance FROM pgbench_accounts WHERE aid = 699;
-- prepared
PREPARE p_1 AS UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;
PREPARE p_2 AS SELECT abalance FROM pgbench_accounts WHERE aid = $1;
EXECUTE p_1 (10, 813);
EXECUTE p_2 (813);
DEALLOCATE ALL;
select sum(abalance), (select sum(bbalance) from pgbench_branches), (select sum(tbalance) from pgbench_tellers), (select sum(delta) from pgbench_history) from pgbench_accounts;
select tid, bid, aid, delta, filler from pgbench_history order by delta;

drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers;
