"""Mixed runs under faults: processes killed and suspended, the database killed, the network between them cut.

The graph is `agent-server/examples/mixed.rs`, whose effects are lines of a file. Used by attack.py.
"""

import asyncio
import collections
import glob
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time

POLICIES = ["reject", "enqueue", "interrupt", "rollback"]
ENDS = ("run_completed", "run_failed", "run_stopped")
LIMIT = 120
# Seconds until a fail point is reached.
REACHED = 40
# Kills between two checks of everything.
BATCH = 25


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Postgres:
    """A private PostgreSQL server."""

    def __init__(self):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="attack-pg-"))
        subprocess.run(["chown", "postgres:postgres", self.folder], check=True)
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        init = [f"{self.bin}/initdb", "--auth=trust", "--locale=C.UTF-8", "--no-sync", "-U", "admin", "-D", f"{self.folder}/data"]
        subprocess.run(self.as_user + init, check=True, stdout=subprocess.DEVNULL)
        self.port, self.process = free_port(), None

    def start(self):
        command = [f"{self.bin}/postgres", "-D", f"{self.folder}/data", "-k", str(self.folder), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "fsync=off"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.as_user + command, stdout=log, stderr=log)
        end = time.monotonic() + LIMIT
        while self.sql("SELECT 1", check=False) != 0:
            if time.monotonic() > end:
                raise SystemExit(f"PostgreSQL does not start; see {self.folder}/log")
            time.sleep(0.05)

    def sql(self, text, check=True):
        command = [f"{self.bin}/psql", "-X", "-q", "-U", "admin", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres", "-c", text]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if check and done.returncode:
            raise SystemExit(f"PostgreSQL refuses {text}")
        return done.returncode

    def kill(self):
        """All of its processes at once, without a checkpoint."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


class Network:
    """A proxy between one server and the database, which can be cut."""

    def __init__(self, port):
        self.target, self.port, self.open = port, None, asyncio.Event()
        self.open.set()
        self.connections = set()

    async def start(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def accept(self, reader, writer):
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        pair = (writer, there_writer)
        self.connections.add(pair)
        await asyncio.gather(self.forward(reader, there_writer), self.forward(there_reader, writer))
        self.connections.discard(pair)

    async def forward(self, reader, writer):
        try:
            while data := await reader.read(65536):
                # While it is cut, bytes are neither delivered nor refused.
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def cut(self, seconds, reset):
        self.open.clear()
        await asyncio.sleep(seconds)
        if reset:
            for pair in list(self.connections):
                for writer in pair:
                    writer.transport.abort()
        self.open.set()


class Receiver:
    """Takes webhooks, and refuses some at the first attempt."""

    def __init__(self):
        self.ids, self.tried = collections.defaultdict(set), set()

    async def start(self):
        server = await asyncio.start_server(self.take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def take(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split()[0])
            data = json.loads(await reader.readexactly(length))["data"]
            identity = head.split("webhook-id:")[1].split()[0]
            run = (data["session_id"], data["run"])
            taken = run in self.tried or random.random() < 0.8
            self.tried.add(run)
            if taken:
                self.ids[run].add(identity)
            writer.write(f"HTTP/1.1 {204 if taken else 503} X\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, IndexError, KeyError):
            pass
        writer.close()


class World:
    """One database with its servers, clients and readers."""

    def __init__(self, name, make_server, replicas, postgres, receiver):
        self.name, self.receiver, self.postgres = name, receiver, postgres
        self.servers = [make_server() for _ in range(replicas)]
        self.folder = self.servers[0].folder
        self.effects = self.folder / "effects"
        self.effects.touch()
        self.networks = [None] * replicas
        self.faults, self.counts = [], collections.Counter()
        self.kills, self.sessions = 0, 0
        # Fail points that are left: name and how often it is passed. Then what is rare happens more often, at the server that has one.
        self.points, self.armed = [], None
        # Processes that were suspended or cut off.
        self.silent = set()
        self.fresh()

    def fresh(self):
        # Acknowledged: sessions with runs, answers, webhooks. Readers: the numbers that they saw.
        self.runs, self.answers, self.hooks = collections.defaultdict(set), set(), set()
        self.forks, self.seen, self.readers = set(), {}, {}
        self.batch_kills = 0

    async def start(self):
        for at, server in enumerate(self.servers):
            server.env |= {"EFFECTS": str(self.effects), "WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4, "WEBHOOK_HOSTS": "127.0.0.1"}
            server.env |= {"SWEEP_SECONDS": "0.3", "MAX_ACTIVE_RUNS": "24"}
            if "CARELESS" in os.environ:
                server.env["CARELESS"] = "1"
            if self.postgres:
                network = self.networks[at] = Network(self.postgres.port)
                await network.start()
                server.env["DATABASE_URL"] = f"postgres://admin:word@127.0.0.1:{network.port}/{self.name}?sslmode=disable"
                server.env |= {"DATABASE_MAX_CONNECTIONS": "6", "SERVER_SECRET": "attack-attack-attack-attack-attack"}
            else:
                server.env["DATABASE_URL"] = f"sqlite:{self.folder}/agent.db"
                # Leases are renewed every 5 s, too rarely for their fail points.
                server.env |= {"LEASE_SECONDS": "2"} if self.points else {}
            await self.in_thread(server.start)

    def restart(self, server):
        """As a service manager: a server does not start without its database."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                return server.start()
            except SystemExit:
                self.counts["refused starts"] += 1
                if not self.postgres or time.monotonic() > end:
                    raise
            time.sleep(0.2)

    async def in_thread(self, call):
        return await asyncio.get_running_loop().run_in_executor(None, call)

    async def ask(self, method, path, body=None, headers=""):
        """A request to any server; `None` if it did not respond."""
        server = random.choice(self.servers) if self.armed is None or random.random() < 0.3 else self.armed
        try:
            return await server.request(method, path, body, headers=headers)
        except (OSError, asyncio.TimeoutError, IndexError, ValueError):
            return None

    async def until(self, method, path, body=None, headers="", codes=(200,)):
        """Repeats a request until a server answers with one of the codes."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            reply = await self.ask(method, path, body, headers)
            if reply and reply[0] in codes:
                return reply[1]
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{method} {path}: {reply}")

    async def client(self, number, stopped):
        while not stopped.is_set():
            action = random.random()
            known = list(self.runs)
            session = random.choice(known) if known and action > 0.35 else f"{self.name}-{self.sessions}"
            self.sessions += session not in self.runs
            if action < 0.55:
                await self.start_run(session, stopped)
            elif action < 0.8:
                await self.answer(session)
            elif action < 0.88:
                self.counts["stops"] += bool(await self.ask("POST", f"/stop/{session}", {}))
            elif action < (0.9 if self.armed else 0.94):
                await self.ask("POST", f"/resume/{session}", {})
            else:
                reply = await self.ask("POST", f"/sessions/{session}/fork", {})
                if reply and reply[0] == 200:
                    self.forks.add(reply[1]["session_id"])
            await asyncio.sleep(random.random() * 0.05)

    async def start_run(self, session, stopped):
        # A snapshot is stored after 64 KiB of entries.
        message = "go" + "." * (30_000 if random.random() < (0.3 if self.armed else 0.1) else 0)
        body = {"message": message, "session_id": session, "on_busy": random.choice(POLICIES)}
        hook = random.random() < (0.5 if self.armed else 0.2)
        if hook:
            body["webhook"] = {"url": self.receiver.url}
        # The same request until there is an answer, as a client repeats it.
        headers = f"idempotency-key: {random.getrandbits(64):x}\r\n"
        while True:
            reply = await self.ask("POST", "/run-async", body, headers)
            if reply and reply[0] not in (502, 503, 504, 500):
                break
            self.counts["repeated"] += 1
            if stopped.is_set():
                return
            await asyncio.sleep(0.05)
        if reply[0] == 200:
            run = reply[1]["data"]["run"]
            self.runs[session].add(run)
            self.counts["accepted"] += 1
            if hook:
                self.hooks.add((session, run))
            if session not in self.readers:
                self.seen[session] = []
                self.readers[session] = asyncio.create_task(self.read(session))

    async def answer(self, session):
        status = await self.ask("GET", f"/status/{session}")
        if not status or status[0] != 200 or status[1]["status"] != "paused":
            return
        for question in status[1]["data"]["questions"]:
            body = {"id": question["id"], "value": "yes"}
            reply = await self.ask("POST", f"/resume/{session}", body)
            if reply and reply[0] == 200:
                self.answers.add((session, status[1]["data"]["run"], question["id"]))
                self.counts["answered"] += 1

    async def read(self, session):
        """Follows a session with reconnects, at any server."""
        seen = self.seen[session]
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", random.choice(self.servers).port)
                after = seen[-1] if seen else 0
                writer.write(f"GET /sessions/{session}/events?after={after} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
                while line := await asyncio.wait_for(reader.readline(), 3):
                    if line.startswith(b"id: "):
                        seen.append(int(line[4:]))
                writer.close()
            except (OSError, asyncio.TimeoutError, ValueError):
                pass
            self.counts["reconnects"] += 1
            await asyncio.sleep(0.05)

    async def fault(self):
        at = random.randrange(len(self.servers))
        server, kind = self.servers[at], random.random()
        if not self.postgres or kind < 0.85:
            server.kill()
            self.kills += 1
            self.batch_kills += 1
            await self.in_thread(lambda: self.restart(server))
        elif kind < 0.92:
            self.counts["suspended"] += 1
            self.silent.add(server.process.pid)
            server.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(random.random() * 6)
            server.process.send_signal(signal.SIGCONT)
        else:
            self.counts["cut"] += 1
            self.silent.add(server.process.pid)
            await self.networks[at].cut(random.random() * 8, random.random() < 0.5)

    async def fail_at(self, name, times):
        """Starts a server again with a fail point, and waits until it ends there."""
        at = random.randrange(len(self.servers))
        server = self.servers[at]
        server.kill()
        server.env["FAIL_POINT"] = f"{name}:{times}"
        # It may end before it listens, and in the work that the process before it has left.
        await self.in_thread(lambda: self.try_start(server))
        self.armed = server
        code = await self.in_thread(lambda: self.ended(server))
        self.armed = None
        del server.env["FAIL_POINT"]
        if code != -signal.SIGABRT:
            self.wrong(f"fail point {name}, {times} times: " + ("not reached" if code is None else f"the process ended with {code}"))
            server.kill()
        self.counts["fail points"] += 1
        # The kill before it ended a process too.
        self.kills += 1
        self.batch_kills += 2
        await self.in_thread(lambda: self.restart(server))

    def try_start(self, server):
        try:
            server.start()
        except SystemExit:
            pass

    def ended(self, server):
        try:
            return server.process.wait(REACHED)
        except subprocess.TimeoutExpired:
            return None

    async def batch(self, kills):
        self.fresh()
        stopped = asyncio.Event()
        clients = [asyncio.create_task(self.client(number, stopped)) for number in range(3)]
        while self.points and not self.faults:
            await self.fail_at(*self.points.pop())
        while self.batch_kills < kills:
            await asyncio.sleep(0.05 + random.random() * 0.5)
            await self.fault()
        stopped.set()
        await asyncio.gather(*clients)
        await self.check()
        for reader in self.readers.values():
            reader.cancel()

    # -- Checks, when no more faults happen.

    def wrong(self, text):
        self.faults.append(text)

    async def settle(self, session):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            reply = await self.ask("GET", f"/status/{session}")
            if reply and reply[0] == 404:
                return None
            if reply and reply[0] == 200:
                if reply[1]["status"] in ("completed", "failed", "stopped"):
                    return reply[1]
                if reply[1]["status"] == "paused":
                    await self.answer(session)
            await asyncio.sleep(0.05)
        return {"status": "stuck"}

    async def journal(self, session):
        entries, after = [], 0
        while after is not None:
            page = await self.until("GET", f"/sessions/{session}/journal?limit=1000&after={after}")
            entries += page["entries"]
            after = page["next"]
        return entries

    async def check(self):
        limit = asyncio.Semaphore(8)

        async def one(session):
            async with limit:
                await self.check_session(session)

        await asyncio.gather(*[one(session) for session in self.runs], *[one(fork) for fork in self.forks])

    def lines(self):
        """Effects by session: run, name, key, time and process of each."""
        found = collections.defaultdict(list)
        for line in self.effects.read_text().splitlines():
            session, run, name, key, at, process = line.split("\t")
            found[session].append((int(run), name, key, int(at), int(process)))
        return found

    async def check_session(self, session):
        # A queued run begins after the one before it, and a run that lost its store is failed until that is opened again.
        end = time.monotonic() + LIMIT
        while True:
            status = await self.settle(session)
            if status is None:
                return self.wrong(f"{session} was accepted and is not found")
            if status["status"] == "stuck":
                return self.wrong(f"{session} is stuck")
            entries = await self.journal(session)
            of = lambda *kinds: {entry["run"] for entry in entries if entry["type"] in kinds}
            waiting = of("run_queued") - of("run_started", "run_dequeued")
            lost = status["status"] == "failed" and not of("run_failed")
            if not waiting and not lost:
                break
            if time.monotonic() > end:
                return self.wrong(f"{session} is {status['status']}, waiting {waiting}")
            await asyncio.sleep(0.1)
        self.counts[status["status"]] += 1
        for run in self.runs.get(session, ()):
            if run not in of("run_started", "run_queued"):
                self.wrong(f"{session}: run {run} was acknowledged and is not in the journal")
        for entry in entries:
            if entry["type"] == "run_failed" and entry["data"].get("code") != "crash_loop":
                self.wrong(f"{session}: {entry['data']}")
        self.check_steps(session, entries)
        self.check_answers(session, entries)
        if status["status"] == "completed":
            open_todos = [todo for todo in status["data"]["todos"] if todo["status"] != "completed"]
            if open_todos:
                self.wrong(f"{session} is completed with {open_todos}")
        await self.check_stream(session, entries)
        for run in [run for owner, run in self.hooks if owner == session]:
            await self.check_webhook(session, run, of(*ENDS))

    def check_steps(self, session, entries):
        steps = {}
        for entry in entries:
            if entry["type"] != "step_recorded":
                continue
            place = (entry["run"], entry["task"], entry["data"]["key"])
            if place in steps:
                self.wrong(f"{session}: step {place} was recorded twice")
            steps[place] = entry
        by_key = collections.defaultdict(list)
        for run, name, key, at, process in self.lines().get(session, []):
            by_key[key].append((run, name, at, process))
        for key, lines in by_key.items():
            self.counts["effects"] += 1
            self.counts["repeated effects"] += len(lines) - 1
            if len(lines) > 1 + self.batch_kills + self.counts["suspended"] + self.counts["cut"]:
                self.wrong(f"{session}: {lines[0]} was done {len(lines)} times")
            run, name, *_ = lines[0]
            for place, entry in steps.items():
                # A process that was suspended or cut off finishes the effect that it had begun, with the same key.
                late = [at for *_, at, process in lines if at > entry["at"] and process not in self.silent]
                if place[0] == run and place[2] == name and late:
                    self.wrong(f"{session}: {name} of run {run} was done at {late} after it was recorded at {entry['at']}")
        names = {(run, name) for lines in by_key.values() for run, name, *_ in lines}
        if session in self.runs:
            for run, _, key in steps:
                if key.split("-")[0] in ("plan", "part", "before", "after", "inner") and (run, key) not in names:
                    self.wrong(f"{session}: {key} of run {run} was recorded and not done")

    def check_answers(self, session, entries):
        answered = collections.Counter()
        for entry in entries:
            if entry["type"] == "question_answered":
                answered[(entry["run"], entry["data"]["id"])] += 1
        for place, count in answered.items():
            if count > 1:
                self.wrong(f"{session}: question {place} was answered {count} times")
        for owner, run, question in self.answers:
            if owner == session and not answered[(run, question)]:
                self.wrong(f"{session}: the answer to {question} of run {run} was acknowledged and is lost")

    async def check_stream(self, session, entries):
        if session not in self.seen:
            return
        numbers, seen = [entry["seq"] for entry in entries], self.seen[session]
        end = time.monotonic() + LIMIT
        while (not seen or seen[-1] < numbers[-1]) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        upto = [number for number in seen if number <= numbers[-1]]
        if upto != numbers:
            missing, extra = sorted(set(numbers) - set(upto))[:5], len(upto) - len(set(upto))
            self.wrong(f"{session}: a stream missed {missing}, repeated {extra}, in order: {upto == sorted(upto)}")
        self.counts["streams"] += 1

    async def check_webhook(self, session, run, ended):
        if run not in ended:
            return
        end = time.monotonic() + LIMIT
        while not self.receiver.ids[(session, run)] and time.monotonic() < end:
            await asyncio.sleep(0.1)
        if len(self.receiver.ids[(session, run)]) != 1:
            self.wrong(f"{session}: run {run} has webhooks {self.receiver.ids[(session, run)]}")
        self.counts["webhooks"] += 1

    async def run(self, kills):
        await self.start()
        if self.points:
            await self.batch(0)
        while self.kills < kills and not self.faults:
            await self.batch(min(BATCH, kills - self.kills))
        for server in self.servers:
            server.process.terminate()
            await self.in_thread(server.process.wait)


def fail_points(server, rounds):
    """Each fail point of the binary, so many times: at once and after it was passed a few times."""
    process = subprocess.run([server.binary], env={**server.env, "FAIL_POINT": "?"}, cwd=server.folder, capture_output=True)
    names = process.stderr.decode().split("one of the names", 1)
    if process.returncode != 2 or len(names) != 2:
        raise SystemExit(f"the binary has no fail points: {process.stderr.decode()[-500:]}")
    return [(name, 1 if turn == 0 else random.randint(2, 8)) for name in names[1].split() for turn in range(rounds)]


async def crash(make_server, kills, replicas, worlds, rounds=0):
    """`kills` in all, in `worlds` databases at once. With `replicas` on PostgreSQL, or one process on SQLite (0). With `rounds`,
    each fail point so many times, and no other faults."""
    receiver = Receiver()
    await receiver.start()
    postgres = None
    if replicas:
        postgres = Postgres()
        postgres.start()
    made = []
    for number in range(worlds):
        name = f"w{number}"
        if postgres:
            postgres.sql(f"CREATE DATABASE {name}")
        made.append(World(name, make_server, max(replicas, 1), postgres, receiver))
    share = -(-kills // worlds)
    if rounds:
        points = fail_points(make_server(), rounds)
        # A lease is released for another replica; a single process keeps it.
        points = [point for point in points if postgres or not point[0].startswith("release.")]
        random.shuffle(points)
        for at, world in enumerate(made):
            world.points = points[at::worlds]
    # A database that is killed concerns every world.
    done = asyncio.Event()

    async def database():
        while postgres and not rounds and not done.is_set():
            try:
                await asyncio.wait_for(done.wait(), 20 + random.random() * 40)
            except asyncio.TimeoutError:
                made[0].counts["database kills"] += 1
                for world in made:
                    world.silent |= {server.process.pid for server in world.servers}
                await made[0].in_thread(postgres.kill)
                await asyncio.sleep(random.random() * 3)
                await made[0].in_thread(postgres.start)

    killer = asyncio.create_task(database())
    await asyncio.gather(*[world.run(share) for world in made])
    done.set()
    await killer
    counts, faults = collections.Counter(), []
    for world in made:
        counts.update(world.counts)
        counts["kills"] += world.kills
        faults += world.faults
    return faults, counts, made, postgres
