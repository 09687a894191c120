#!/usr/bin/env python3
"""Records PostgreSQL's answers to the expressions of expressions.tsv.

    record.py postgresql://user@host:port/database

Each line of the file is a select list (with or without FROM) and, after a tab, its result: rows joined by `;`, columns
by `|`, NULL as `\\N`; or `!`, the SQLSTATE and the message. Lines that begin with `#` are kept. New expressions are
added as lines without a tab; this program fills in the answers and leaves the order alone.
"""

import os
import subprocess
import sys

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expressions.tsv")
SETTINGS = "SET timezone='America/New_York'; SET client_min_messages=error; SET extra_float_digits=1;"


def ask(dsn, expression):
    command = ["psql", "-XAtq", "-v", "VERBOSITY=verbose", "-P", r"null=\N", "-R", ";", dsn, "-c", SETTINGS, "-c"]
    done = subprocess.run(command + ["SELECT " + expression], capture_output=True, text=True)
    if done.stderr:
        level, state, message = done.stderr.splitlines()[0].split(":", 2)
        assert level == "ERROR", done.stderr
        return "!" + state.strip() + " " + message.strip()
    assert done.stdout.count("\n") <= 1, (expression, done.stdout)
    return done.stdout.rstrip("\n").replace("\t", "\\t")


def main():
    out = []
    for line in open(PATH, encoding="utf-8"):
        line = line.rstrip("\n")
        if line and not line.startswith("#"):
            expression = line.split("\t")[0]
            line = expression + "\t" + ask(sys.argv[1], expression)
        out.append(line)
    with open(PATH, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


main()
