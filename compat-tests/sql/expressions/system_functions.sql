-- functions on the session and the system that everyday statements contain.
SELECT current_user = session_user, current_role = current_user, current_schema, current_schemas(false), current_catalog = current_database();
SELECT version() LIKE 'PostgreSQL 18%', current_setting('server_version_num')::int >= 180000, pg_backend_pid() > 0;
SELECT current_setting('no.such_setting');
SELECT current_setting('no.such_setting', true);
SELECT set_config('my.var', 'hello', false), current_setting('my.var');
SELECT pg_typeof(pg_postmaster_start_time()), pg_is_in_recovery(), inet_server_port() IS NOT NULL;
SELECT has_table_privilege('pg_class', 'SELECT'), has_schema_privilege('public', 'USAGE'), has_database_privilege(current_database(), 'CONNECT');
SELECT has_table_privilege('pg_class', 'NONSENSE');
SELECT has_table_privilege('missing', 'SELECT');
SELECT obj_description('pg_class'::regclass, 'pg_class') IS NULL, col_description('pg_class'::regclass, 1) IS NULL, pg_get_userbyid(10);
SELECT pg_size_pretty(10240::bigint), pg_size_pretty(123456789::bigint), pg_size_bytes('10 kB'), pg_size_bytes('1.5 GB');
SELECT pg_size_bytes('ten');
SELECT hashtext('a') = hashtext('a'), pg_column_size(1), pg_column_size('abc'::text);
SELECT txid_current() > 0, pg_current_xact_id() IS NOT NULL, pg_advisory_lock(1) IS NOT NULL, pg_try_advisory_lock(1), pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock(1);
