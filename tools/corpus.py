#!/usr/bin/env python3
"""Runs the scripts of compat-tests/sql against two servers and reports where they answer differently: a cluster ought to
answer as one node does.

    tools/corpus.py [--psql PSQL] [--set 'STATEMENT'] DSN DSN [SCRIPT...]

Each script runs with psql in a database of its own on each server, which prints what was asked, the answers, and errors by
their SQLSTATE. A pair of answers that differ in a second run on the *same* server (object ids, times) counts as unstable
and not as a difference.
"""

import argparse
import difflib
import pathlib
import subprocess
import sys
import urllib.parse

CORPUS = pathlib.Path(__file__).parent.parent / "compat-tests" / "sql"


def psql(args, dsn, *more, stdin=None):
    command = [args.psql, "-X", "-q", *more, dsn]
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def answers(args, dsn, script):
    """What a server says to a script, line by line."""
    database = "corpus_" + script.stem
    psql(args, dsn, "-c", f"DROP DATABASE IF EXISTS {database}", "-c", f"CREATE DATABASE {database}")
    own = urllib.parse.urlsplit(dsn)._replace(path="/" + database).geturl()
    begin = "\\set VERBOSITY sqlstate\n" + "".join(f"{statement};\n" for statement in args.set)
    text = psql(args, own, "-e", stdin=begin + script.read_text())
    psql(args, dsn, "-c", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    return text.splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psql", default="psql")
    parser.add_argument("--set", action="append", default=[], metavar="STATEMENT", help="runs before each script")
    parser.add_argument("dsn", nargs=2, metavar="DSN", help="postgresql://user@host:port/database: one node, and the cluster")
    parser.add_argument("script", nargs="*", type=pathlib.Path, help="scripts [default: all of compat-tests/sql]")
    args = parser.parse_args()
    differences = 0
    scripts = args.script or sorted(CORPUS.glob("*/*.sql"))
    for script in scripts:
        one, other = (answers(args, dsn, script) for dsn in args.dsn)
        if one == other:
            continue
        # What a server answers differently the second time says nothing.
        again = answers(args, args.dsn[0], script)
        unstable = {number for number, lines in enumerate(zip(one, again)) if lines[0] != lines[1]}
        if len(one) == len(other) == len(again):
            pairs = [(a, b) for number, (a, b) in enumerate(zip(one, other)) if a != b and number not in unstable]
            lines = [line for a, b in pairs for line in ("- " + a, "+ " + b)]
        else:
            pairs = [None]
            lines = list(difflib.unified_diff(one, other, "one node", "cluster", lineterm="", n=2))
        if pairs:
            differences += 1
            print(f"{script}:", *lines, sep="\n    ")
    print(f"{len(scripts)} scripts, {differences} answered differently")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
