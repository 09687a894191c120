#!/usr/bin/env python3
"""Records what PostgreSQL answers: fills in the last field of every line of tests/data/*.tsv.

    engine/types/tests/record.py 'postgresql://postgres@127.0.0.1:5432/postgres'

A line is `operation TAB argument ... TAB => TAB expected`; what follows `=>` is replaced. Tabs, newlines and
backslashes in arguments are written \\t, \\n, \\\\. An error is recorded as `!SQLSTATE message`, with ` | DETAIL`.
The tests replay the same lines against this crate (tests/it/main.rs). Needs psql in the PATH.
"""

import pathlib
import subprocess
import sys

SQL = {
    "in": "select format('%s', {1}::{0})",
    "assign_varchar": "select format('%s', varcharin({0}::cstring, 0, {1} + 4))",
    "assign_bpchar": "select format('%s', bpcharin({0}::cstring, 0, {1} + 4))",
    "add": "select ({0}::numeric + {1}::numeric)::text",
    "sub": "select ({0}::numeric - {1}::numeric)::text",
    "mul": "select ({0}::numeric * {1}::numeric)::text",
    "div": "select ({0}::numeric / {1}::numeric)::text",
    "mod": "select ({0}::numeric % {1}::numeric)::text",
    "pow": "select ({0}::numeric ^ {1}::numeric)::text",
    "log2": "select log({0}::numeric, {1}::numeric)::text",
    "cmp": "select sign(case when a < b then -1 when a > b then 1 else 0 end)::text from (select {1}::{0} a, {2}::{0} b) x",
    "round": "select round({0}::numeric, {1}::int)::text",
    "trunc": "select trunc({0}::numeric, {1}::int)::text",
    "cast": "select ({1}::numeric::{0})::text",
    "castfrom": "select ({1}::{0}::numeric)::text",
    "send": "select encode({send}({1}::{0}), 'hex')",
    "trunc_ts": "select date_trunc({0}, {2}::{1})::text",
    "trunc_tz": "select date_trunc({0}, {1}::timestamptz, {2})::text",
    "extract": "select pg_catalog.extract({0}, {2}::{1})::text",
    "age": "select age({0}::timestamp, {1}::timestamp)::text",
    "ts+": "select ({1}::{0} + {2}::interval)::text",
    "ts-": "select ({1}::{0} - {2}::interval)::text",
    "ts_diff": "select ({0}::timestamp - {1}::timestamp)::text",
    "at_zone": "select timezone({1}, {2}::{0})::text",
    "iv_mul": "select ({0}::interval * {1}::float8)::text",
    "iv_div": "select ({0}::interval / {1}::float8)::text",
    "iv+": "select ({0}::interval + {1}::interval)::text",
    "justify": "select justify_interval({0}::interval)::text",
    "to_char": "select to_char({1}::{0}, {2})",
    "make_date": "select make_date({0}::int, {1}::int, {2}::int)::text",
}
# Operations whose first argument is the name of a type, which is not quoted.
TYPE_FIRST = ["in", "cmp", "cast", "castfrom", "send", "ts+", "ts-", "at_zone", "to_char"]
ONE_ARGUMENT = ["sqrt", "exp", "ln", "log10", "ceil", "floor", "sign", "abs", "scale", "min_scale", "trim_scale"]
for name in ONE_ARGUMENT:
    SQL[name] = f"select {'log' if name == 'log10' else name}({{0}}::numeric)::text"
for name in ["gcd", "lcm"]:
    SQL[name] = f"select {name}({{0}}::numeric, {{1}}::numeric)::text"

PROBE = """
\\set QUIET on
\\pset tuples_only on
\\pset format unaligned
set intervalstyle = 'postgres'; set datestyle = 'ISO, MDY'; set timezone = 'UTC'; set client_min_messages = 'error';
create function pg_temp.probe(query text) returns text language plpgsql as $$
declare answer text; code text; message text; details text;
begin
  execute query into answer;
  return coalesce(answer, '<null>');
exception when others then
  get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail;
  return '!' || code || ' ' || message || case when details <> '' then ' | ' || details else '' end;
end $$;
create function pg_temp.escaped(answer text) returns text language sql as
$$ select replace(replace(replace(answer, E'\\\\', E'\\\\\\\\'), E'\\t', E'\\\\t'), E'\\n', E'\\\\n') $$;
"""


def unescape(text):
    out, chars = [], iter(text)
    for char in chars:
        if char == "\\":
            char = {"t": "\t", "n": "\n"}.get(n := next(chars, "\\"), n)
        out.append(char)
    return "".join(out)


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def statement(fields):
    operation, arguments = fields[0], [unescape(f) for f in fields[1:]]
    if operation == "set":
        return f"set {arguments[0]} = {quote(arguments[1]) if ',' not in arguments[1] else arguments[1]}; select 'ok';"
    template = SQL[operation]
    if operation in TYPE_FIRST:
        values = [arguments[0]] + [quote(a) for a in arguments[1:]]
    elif operation in ("trunc_ts", "extract"):
        values = [quote(arguments[0]), arguments[1], quote(arguments[2])]
    else:
        values = [quote(a) if not operation.startswith("assign") or a != arguments[-1] else a for a in arguments]
    query = template.format(*values, send=send_function(arguments[0]))
    return f"select pg_temp.escaped(pg_temp.probe({quote(query)}));"


def send_function(type_name):
    if type_name.endswith("[]"):
        return "array_send"
    no_underscore = type_name in ("int4", "int8", "int2", "float8", "float4", "bool", "text", "bytea", "oid")
    return type_name + ("send" if no_underscore else "_send")


def record(path, dsn):
    lines = path.read_text().splitlines()
    cases = [(i, l.split("\t=>")[0].split("\t")) for i, l in enumerate(lines) if l and not l.startswith("#")]
    script = PROBE + "".join(f"{statement(fields)}\n" for _, fields in cases)
    done = subprocess.run(["psql", "-XqAt", dsn], input=script, capture_output=True, text=True, check=True)
    if done.stderr:
        sys.exit(f"{path}: {done.stderr}")
    answers = done.stdout.splitlines()
    if len(answers) != len(cases):
        sys.exit(f"{path}: {len(cases)} questions, {len(answers)} answers")
    for (index, fields), answer in zip(cases, answers):
        lines[index] = "\t".join(fields) + "\t=>\t" + answer
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for data in sorted((pathlib.Path(__file__).parent / "data").glob("*.tsv")):
        record(data, sys.argv[1])
