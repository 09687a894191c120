-- oid and its names: regclass, regtype, regproc and others.
SELECT 1::oid, '4294967295'::oid, (-1)::oid, 23::oid::int, 4294967295::bigint::oid;
SELECT 'x'::oid;
SELECT '4294967296'::oid;
SELECT 1::oid < 2::oid, 23::oid = 23, 1::oid = '1';
SELECT 1::oid + 1;
SELECT 'integer'::regtype, 'int4'::regtype, 'timestamp with time zone'::regtype, 'varchar'::regtype, 'text[]'::regtype, 'numeric(10,2)'::regtype, 'pg_catalog.bool'::regtype, '"char"'::regtype;
SELECT 'int4'::regtype::oid, 25::regtype, 1043::oid::regtype, 0::regtype, 999999::regtype, '-'::regtype;
SELECT 'no_such_type'::regtype;
SELECT 'nowhere.int4'::regtype;
SELECT 'pg_class'::regclass, 'pg_catalog.pg_class'::regclass, 1259::regclass, 'pg_class'::regclass::oid, '"pg_class"'::regclass, 999999::regclass, 0::regclass;
SELECT 'missing_table'::regclass;
SELECT 'nowhere.t'::regclass;
SELECT 'a.b.c.d'::regclass;
SELECT '"Broken'::regclass;
SELECT to_regclass('pg_class'), to_regclass('missing_table'), to_regtype('int'), to_regtype('nope'), to_regnamespace('public'), to_regrole('nobody_here');
SELECT 'now'::regproc, 'abs(integer)'::regprocedure, 'pg_catalog.now'::regproc, 'upper'::regproc;
SELECT 'abs'::regproc;
SELECT 'no_such_function'::regproc;
SELECT 'public'::regnamespace, 'pg_catalog'::regnamespace::oid, '+(integer,integer)'::regoperator;
SELECT 'nope'::regnamespace;
SELECT 'nope'::regrole;
CREATE TABLE "Mixed Case" (id int);
SELECT '"Mixed Case"'::regclass, 'Mixed Case'::regclass;
SELECT '"Mixed Case"'::regclass::text, quote_ident('Mixed Case'), format('%I', 'Mixed Case');
SELECT relname FROM pg_class WHERE oid = '"Mixed Case"'::regclass;
SELECT tableoid::regclass, count(*) FROM "Mixed Case" GROUP BY 1;
DROP TABLE "Mixed Case";
SELECT format_type(23, NULL), format_type(1043, 14), format_type(1700, 655366), format_type(1007, NULL), format_type(1114, 3), format_type(0, NULL), format_type(NULL, NULL), format_type(999999, NULL);
SELECT typname, typlen, typbyval, typcategory, typtype FROM pg_type WHERE typname IN ('int4', 'text', 'bool', 'numeric', 'timestamptz', '_int4') ORDER BY typname;
SELECT oprname, oprleft::regtype, oprright::regtype, oprresult::regtype FROM pg_operator WHERE oprname = '||' AND oprleft = 'text'::regtype ORDER BY 3;
SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast WHERE castsource = 'int4'::regtype ORDER BY 2;
SELECT proname, pronargs, prorettype::regtype FROM pg_proc WHERE proname = 'abs' ORDER BY prorettype;

-- Names of functions, operators and collations
SELECT 'abs(int)'::regprocedure, '+(int, int)'::regoperator, '||/'::regoper, '"C"'::regcollation;
SELECT 'nosuch(int)'::regprocedure;
SELECT '++(int,int)'::regoperator;
SELECT '{pg_class,pg_type}'::regclass[], '{int4,text}'::regtype[];
