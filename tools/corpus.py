#!/usr/bin/env python3
"""Runs the scripts of compat-tests against one node and against a cluster of three in which every table and index is
spread over hash buckets, each a shard of its own, and reports what is answered differently: nothing should be.

    tools/corpus.py --shardforge BINARY [SCRIPT...]

Each script runs with psql, on servers that were made for it: on the one node, and on the cluster through the primary and
through another node. psql prints what was asked, what came back (names of columns, rows, tags; in the order in which they came) and
errors by their SQLSTATE. A line in which the one node differs from itself when it is asked again (times, object ids) says
nothing and is not compared. A machine so busy that the cluster changes its primary ends sessions (57P01), which shows here: give the
tool a quiet one.
"""

import argparse
import difflib
import os
import pathlib
import subprocess
import sys

from servers import Cluster, ShardForge, conninfo_at, install_postgres

CORPUS = pathlib.Path(__file__).parent.parent / "compat-tests"
PORTS = [5621, 5622, 5623, 5624, 5625, 5626]
# transactions/prepared.sql wants it.
SETTINGS = {"max_prepared_transactions": 8}


class Psql:
    def __init__(self, programs):
        self.program = programs / "psql"

    def run(self, port, *more, database="postgres", options="", script=None):
        command = [self.program, "-X", "-A", *more, conninfo_at(port, database)]
        done = subprocess.run(command, input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env={**os.environ, "PGOPTIONS": options})
        return done.stdout

    def transcript(self, port, script, buckets):
        """What a server says to a script, line by line."""
        self.run(port, "-c", "CREATE DATABASE corpus")
        text = "\\set VERBOSITY sqlstate\n" + script.read_text()
        said = self.run(port, "-e", database="corpus", options=f"-c default_buckets={buckets}", script=text)
        self.run(port, "-c", "DROP DATABASE corpus WITH (FORCE)")
        return said.splitlines()


def differences(expected, again, found):
    """Lines that say how what was found differs from what was expected twice."""
    if len(expected) == len(again) == len(found):
        lines = zip(expected, again, found)
        pairs = [(one, other) for one, repeated, other in lines if one == repeated != other]
        return [line for one, other in pairs for line in ("- " + one, "+ " + other)]
    return list(difflib.unified_diff(expected, found, "one node", "cluster", lineterm="", n=2))


def other_servers(psql, binary, nodes):
    """What the one node is compared with, and the ports to ask it through, by how they are called."""
    if nodes == 1:
        one = ShardForge(binary, PORTS[1], SETTINGS)
        one.start()
        return one, {"on one node with buckets": one.port}
    cluster = Cluster(binary, PORTS[1:nodes + 1], SETTINGS)
    programs = psql.program.parent
    cluster.wait_for_replicas(programs)
    primary = cluster.ports[cluster.primary(programs) - 1]
    elsewhere = next(port for port in cluster.ports if port != primary)
    return cluster, {"through the primary": primary, "through another node": elsewhere}


def compare(psql, args, script):
    """Runs one script everywhere: how many lines it was answered, and the differences by where they were seen."""
    one, others = ShardForge(args.shardforge, PORTS[0], SETTINGS), None
    try:
        one.start()
        others, ways = other_servers(psql, args.shardforge, args.nodes)
        expected, again = (psql.transcript(one.port, script, 1) for _ in range(2))
        found = {way: psql.transcript(port, script, args.buckets) for way, port in ways.items()}
        seen = {way: differences(expected, again, lines) for way, lines in found.items()}
        return len(expected), {way: lines for way, lines in seen.items() if lines}
    finally:
        one.remove()
        if others:
            others.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shardforge", required=True, help="the binary")
    parser.add_argument("--nodes", type=int, choices=[1, 3, 5], default=3, help="of what the one node is compared with")
    parser.add_argument("--buckets", type=int, default=4, help="default_buckets there")
    parser.add_argument("script", nargs="*", type=pathlib.Path, help="scripts [default: all of compat-tests]")
    args = parser.parse_args()
    psql = Psql(install_postgres())
    scripts = args.script or sorted([*CORPUS.glob("sql/*/*.sql"), *CORPUS.glob("beyond/*.sql")])
    different = total = 0
    for script in scripts:
        lines, seen = compare(psql, args, script)
        total += lines
        different += bool(seen)
        for where, found in seen.items():
            print(f"{script}, {where}:", *found, sep="\n    ", flush=True)
    print(f"{len(scripts)} scripts, {total} lines of answers; {different} scripts answered differently")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
