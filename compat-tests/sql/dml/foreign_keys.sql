-- FOREIGN KEY: checks and actions.
create table p(id int primary key, u int unique, v text default 'v');
create table c(id int primary key, p int references p on delete cascade on update cascade);
create table g(id int primary key, c int references c on delete set null, d int default 5 references p(u) on delete set default on update set null);
insert into p values (1,10),(2,20),(3,30),(4,5);
insert into c values (1,1),(2,1),(3,2),(4,3);
insert into g values (1,1,10),(2,2,20),(3,3,30);
delete from p where id = 1;
select * from c order by 1; select * from g order by 1;
update p set id = id + 100 where id > 1;
select * from c order by 1;
update p set u = 21 where u = 20;
select * from g order by 1;
delete from p where u = 5;
delete from p where u = 30;
-- default missing
create table sd(a int default 77 references p(u) on delete set default on update set default);
insert into sd values (21);
delete from p where u = 21;
update p set u = 22 where u = 21;
-- self reference
create table t(id int primary key, parent int references t on delete cascade);
insert into t select i, nullif(i-1,0) from generate_series(1,50) i;
delete from t where id = 10;
select count(*) from t;
insert into t values (100, 101), (101, 100);
delete from t;
-- no action: row replaced within statement
create table na(id int primary key, x int unique);
create table nac(x int references na(x));
insert into na values (1,1),(2,2); insert into nac values (1),(2);
update na set x = 3 - x where false;
delete from na where id = 1;
with d as (delete from na where id = 1 returning *) insert into na select 3, x from d;
begin; delete from nac where x=1; delete from na where id=1; rollback;
-- cte inserts parent and child
with a as (insert into na values (7,7)) insert into nac values (7);
with a as (insert into nac values (8)) insert into na values (8,8);
select * from nac order by 1;
-- not null violated by set null, context
create table nn(a int not null references na(x) on delete set null);
insert into nn values (8);
delete from nac where x = 8;
delete from na where x = 8;
-- check violated by cascade
create table ck(a int check (a < 100) references na(x) on update cascade);
insert into ck values (7); delete from nac where x=7;
update na set x = 700 where x = 7;
