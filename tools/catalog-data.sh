#!/usr/bin/env bash
# Writes engine/sql/data/catalog/*.tsv: the rows that a fresh PostgreSQL 18 holds in its own catalogs.
#
#   tools/catalog-data.sh DSN          (any database without user objects; psql must be in PATH)
#
# One file a catalog, in COPY text format with a header line that names the columns, ordered by key, so that a
# newer PostgreSQL shows as a small diff. Three things are not verbatim:
#   - reg* columns are written as numbers, which is what they hold;
#   - pg_node_tree columns, whose form is PostgreSQL's memory layout, are written as SQL text;
#   - what belongs to the machine (file nodes, sizes, transaction ids, paths) is neutral.
set -euo pipefail
dsn=${1:?usage: tools/catalog-data.sh DSN}
cd "$(dirname "$0")/../engine/sql"
out=data/catalog
mkdir -p $out

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$dsn" -c "$1"; }

# The select list of a catalog with the replacements above.
select_list() {
    sql "SELECT string_agg(CASE
            WHEN c.relname = 'pg_proc' AND attname = 'proargdefaults' THEN
                \$\$(SELECT array_agg(pg_get_function_arg_default(t.oid, i) ORDER BY i) FROM generate_series(1, 40) i
                   WHERE pg_get_function_arg_default(t.oid, i) IS NOT NULL) AS proargdefaults\$\$
            WHEN c.relname = 'pg_proc' AND attname = 'prosqlbody' THEN 'pg_get_function_sqlbody(t.oid) AS prosqlbody'
            WHEN c.relname = 'pg_constraint' AND attname = 'conbin' THEN 'pg_get_expr(conbin, conrelid) AS conbin'
            WHEN c.relname = 'pg_class' AND attname IN ('relfilenode', 'relpages', 'relallvisible', 'relallfrozen',
                'relfrozenxid', 'relminmxid') THEN '0 AS ' || attname
            WHEN c.relname = 'pg_class' AND attname = 'reltuples' THEN '-1 AS reltuples'
            WHEN atttypid = 'pg_node_tree'::regtype THEN 'NULL AS ' || attname
            WHEN atttypid::regtype::text ~ '^reg[a-z]+\$' THEN format('%1\$s::oid AS %1\$s', attname)
            ELSE attname::text END, ', ' ORDER BY attnum)
         FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
         WHERE attrelid = 'pg_catalog.$1'::regclass AND attnum > 0 AND NOT attisdropped"
}

# dump CATALOG ORDER [CONDITION]
dump() {
    echo "$1"
    sql "COPY (SELECT $(select_list "$1") FROM pg_catalog.$1 t WHERE ${3:-oid < 16384} ORDER BY $2) TO STDOUT (HEADER)" \
        >"$out/$1.tsv"
}

dump pg_aggregate aggfnoid::oid "aggfnoid < 16384"
dump pg_am oid
dump pg_amop oid
dump pg_amproc oid
dump pg_attribute attrelid,attnum "attrelid < 16384"
dump pg_auth_members oid "roleid < 16384 AND member < 16384"
dump pg_authid oid "oid < 16384 AND oid <> 10"
dump pg_cast oid
dump pg_class oid
dump pg_collation oid
dump pg_constraint oid
dump pg_conversion oid
dump pg_description classoid,objoid,objsubid "objoid < 16384"
dump pg_index indexrelid "indexrelid < 16384"
dump pg_language oid
dump pg_namespace oid
dump pg_opclass oid
dump pg_operator oid
dump pg_opfamily oid
dump pg_proc oid
dump pg_range rngtypid "rngtypid < 16384"
dump pg_shdescription classoid,objoid "objoid < 16384"
dump pg_tablespace oid
dump pg_ts_config oid
dump pg_ts_config_map mapcfg,maptokentype,mapseqno "mapcfg < 16384"
dump pg_ts_dict oid
dump pg_ts_parser oid
dump pg_ts_template oid
dump pg_type oid

echo pg_settings
sql "COPY (SELECT name, unit, category, short_desc, extra_desc, context, vartype, min_val, max_val, enumvals,
             CASE WHEN name ~ '_(file|directory)\$' THEN NULL ELSE boot_val END AS boot_val,
             pg_settings_get_flags(name) AS flags
           FROM pg_settings ORDER BY name) TO STDOUT (HEADER)" >$out/pg_settings.tsv

echo system views
sql "COPY (SELECT oid, btrim(pg_get_viewdef(oid)) AS definition FROM pg_class
           WHERE relkind = 'v' AND oid < 16384 ORDER BY oid) TO STDOUT (HEADER)" >$out/view_definitions.tsv

wc -c $out/*.tsv | tail -1
