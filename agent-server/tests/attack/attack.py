#!/usr/bin/env python3
"""Attacks the server and checks that nothing acknowledged is lost, stuck or contradictory. Standard library only.

    attack.py BINARY leave SECONDS     clients that close their connections at random moments
    attack.py BINARY enqueue NUMBER    runs that are enqueued while the run before them ends
    attack.py BINARY kill NUMBER       `kill -9` at random moments, over runs with all busy policies
    attack.py BINARY torn NUMBER       kills after which the write-ahead log of SQLite ends early or has changed bytes
    attack.py BINARY pages NUMBER      damaged pages of the SQLite file
    attack.py BINARY full NUMBER       a full disk
    attack.py BINARY soak SECONDS      half of the highest load; a table of memory, handles and file sizes, which must stay flat
    attack.py MIXED crash NUMBER       the same over the graph of `agent-server/examples/mixed.rs`, on SQLite: steps, sends, a
                                       subgraph, agents, questions, stops, forks, webhooks, streams read with reconnects
    attack.py MIXED replicas NUMBER    the same with three replicas on a private PostgreSQL, which are also suspended and cut
                                       off, and whose database is killed
    attack.py MIXED points NUMBER      the same, each fail point so many times: the process ends at named places of the code
                                       (feature `fail-points`, which builds of tests have), on SQLite
    attack.py MIXED replica-points NUMBER   the same with three replicas on a private PostgreSQL

`crash`, `replicas` and the fail points work in WORLDS databases at once (default: 4), and those on PostgreSQL with
REPLICAS (default: 3). SEED repeats the random choices, not the timing.

DATABASE_URL may name a PostgreSQL database; default: an SQLite file. At the end, `agent-server verify` reads every session.
Prints one line of JSON; the exit code is 1 if something is wrong.
"""

import asyncio
import collections
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

from crash import crash
from disk import full, pages, torn
from soak import soak

MESSAGE = "라네즈 리뷰를 분석해줘"
ANSWER = {"value": "소비자"}
POLICIES = ["reject", "enqueue", "interrupt", "rollback"]
# Longer than anything takes on a busy machine.
LIMIT = 60


class Server:
    def __init__(self, binary):
        self.binary = os.path.abspath(binary)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="attack-"))
        database = os.environ.get("DATABASE_URL", f"sqlite:{self.folder}/agent.db")
        self.env = {"PATH": os.environ["PATH"], "DATABASE_URL": database, "USE_MOCK_DATA": "true", "API_PORT": "0"}
        self.env["API_HOST"] = "127.0.0.1"
        self.process, self.port = None, None

    def start(self):
        """Starts the server on the port that it had before, if any."""
        log = self.folder / "log"
        log.write_bytes(b"")
        if self.port:
            self.env["API_PORT"] = str(self.port)
        stderr = open(log, "ab")
        self.process = subprocess.Popen([self.binary], env=self.env, cwd=self.folder, stdout=stderr, stderr=stderr, restore_signals=False)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
            if found:
                self.port = int(found.group(1))
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        sys.exit(f"the server does not start: {log.read_text()[-2000:]}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def request(self, method, path, body=None, leave=None, headers=""):
        """One request. `leave`: closes the connection after so many seconds, without reading the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n{headers}"
        writer.write(f"{head}connection: close\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        try:
            await writer.drain()
            if leave is not None:
                await asyncio.sleep(leave)
                writer.transport.abort()
                return 0, None
            data = await asyncio.wait_for(reader.read(), LIMIT)
        finally:
            writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head:
            raise OSError("the connection was closed")
        if b"transfer-encoding: chunked" in head.lower():
            chunks, body = body, b""
            while chunks:
                size, _, chunks = chunks.partition(b"\r\n")
                body, chunks = body + chunks[: int(size, 16)], chunks[int(size, 16) + 2 :]
        return int(head.split()[1]), json.loads(body) if body else None

    async def status(self, session):
        code, status = await self.request("GET", f"/status/{session}")
        return "unknown" if code == 404 else status["status"]

    async def settle(self, session):
        """Answers until the session has ended. Returns its status, or `stuck`."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            status = await self.status(session)
            if status in ("completed", "failed", "stopped", "unknown"):
                return status
            if status == "paused":
                await self.request("POST", f"/resume/{session}", ANSWER)
            await asyncio.sleep(0.03)
        return "stuck"

    async def listed(self):
        """The statuses of all sessions, as the list has them."""
        statuses, before = {}, ""
        while True:
            _, page = await self.request("GET", f"/sessions?limit=200{before}")
            statuses |= {session["session_id"]: session["status"] for session in page["sessions"]}
            following = page.get("next") or page.get("before")
            if not following or not page["sessions"]:
                return statuses
            before = f"&before={following}"


async def leave(server, seconds):
    """Sessions of clients that leave."""
    faults, results, end = [], collections.Counter(), time.monotonic() + seconds

    async def one(session):
        path = "/run" if random.random() < 0.3 else "/run-async"
        await server.request("POST", path, {"message": MESSAGE, "session_id": session}, leave=random.random() * 0.004)
        for _ in range(4):
            await server.request("POST", f"/resume/{session}", ANSWER, leave=random.random() * 0.003)
            await asyncio.sleep(random.random() * 0.03)
        if random.random() < 0.3:
            await server.request("POST", f"/stop/{session}", {}, leave=random.random() * 0.003)
        result = await server.settle(session)
        results[result] += 1
        if result == "stuck":
            faults.append(f"{session} is stuck")

    number = 0
    while time.monotonic() < end:
        await asyncio.gather(*[one(f"leave-{number + client}") for client in range(20)])
        number += 20
    # A request that was read late is accepted late: such a session waits for its answer.
    for session, status in (await server.listed()).items():
        if status in ("paused", "running"):
            results["late"] += 1
            if await server.settle(session) != "completed":
                faults.append(f"{session} was accepted late and does not complete")
    return faults, results


async def enqueue(server, number):
    """Runs that are enqueued while the run before them ends: both must complete."""
    faults, results = [], collections.Counter()

    async def one(session):
        await server.request("POST", "/run-async", {"message": MESSAGE, "session_id": session})
        while await server.status(session) != "paused":
            await asyncio.sleep(0.01)
        answer = asyncio.create_task(server.request("POST", f"/resume/{session}", ANSWER))
        await asyncio.sleep(random.random() * 0.09)
        body = {"message": MESSAGE, "session_id": session, "on_busy": "enqueue"}
        code, refusal = await server.request("POST", "/run-async", body)
        await answer
        if code != 200:
            faults.append(f"{session}: {code} {refusal}")
            return
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            await server.settle(session)
            _, journal = await server.request("GET", f"/sessions/{session}/journal?limit=1000")
            entries = journal.get("events") or journal.get("entries")
            if sum(entry["type"] == "run_completed" for entry in entries) >= 2:
                results["both"] += 1
                return
            await asyncio.sleep(0.05)
        faults.append(f"{session}: a run was lost")

    for first in range(0, number, 10):
        await asyncio.gather(*[one(f"enqueue-{session}") for session in range(first, min(number, first + 10))])
    return faults, results


async def kill(server, number):
    """Three clients, and a `kill -9` while they work. Every acknowledged session must be found and end."""
    faults, acknowledged = [], set()

    async def contradictions(prefix):
        listed = await server.listed()
        found = {}
        for session, status in listed.items():
            if session.startswith(prefix):
                now = await server.status(session)
                if now != status and "running" not in (now, status):
                    found[session] = f"{session}: the list has {status}, the status {now}"
        return found

    for turn in range(number):
        stopped = asyncio.Event()

        async def client(name):
            count = 0
            while not stopped.is_set():
                count += 1
                session = f"kill-{turn}-{name}-{count % 3}"
                body = {"message": MESSAGE, "session_id": session, "on_busy": random.choice(POLICIES)}
                try:
                    code, _ = await server.request("POST", "/run-async", body)
                    if code == 200:
                        acknowledged.add(session)
                    await asyncio.sleep(random.random() * 0.05)
                    await server.request("POST", f"/resume/{session}", ANSWER)
                except (OSError, asyncio.TimeoutError, IndexError, ValueError):
                    pass  # the server was killed

        clients = [asyncio.create_task(client(name)) for name in range(3)]
        await asyncio.sleep(0.1 + random.random() * 0.5)
        server.kill()
        stopped.set()
        await asyncio.gather(*clients)
        server.start()
        # A session may have ended between the two requests: what remains after a while is a fault.
        if await contradictions(f"kill-{turn}-"):
            await asyncio.sleep(0.5)
            faults += (await contradictions(f"kill-{turn}-")).values()
    results = collections.Counter()
    for session in sorted(acknowledged):
        result = await server.settle(session)
        results[result] += 1
        if result in ("stuck", "unknown"):
            faults.append(f"{session}: {result}")
    return faults, results


KINDS = {"leave": leave, "enqueue": enqueue, "kill": kill, "torn": torn, "pages": pages, "full": full, "soak": soak}


async def mixed(binary, kind, number, started, seed):
    replicas, worlds = (int(os.environ.get("REPLICAS", "3")) if kind.startswith("replica") else 0), int(os.environ.get("WORLDS", "4"))
    kills, rounds = (0, number) if kind.endswith("points") else (number, 0)
    faults, counts, made, postgres = await crash(lambda: Server(binary), kills, replicas, worlds, rounds)
    sessions = 0
    for world in made:
        server = world.servers[0]
        if postgres:
            server.env["DATABASE_URL"] = f"postgres://admin:word@127.0.0.1:{postgres.port}/{world.name}?sslmode=disable"
        command = [server.binary, "verify", "--json"]
        verify = subprocess.run(command, env=server.env, cwd=server.folder, capture_output=True, check=False)
        if not verify.stdout:
            sys.exit(f"verify: {verify.stderr.decode()}, faults: {faults[:10]}")
        verified = json.loads(verify.stdout)
        sessions += verified["sessions"]
        faults += [f"{fault['session_id']}: {fault['error']}" for fault in verified["faults"]]
    if postgres:
        postgres.kill()
    report = {"attack": kind, "seconds": round(time.monotonic() - started), "seed": seed, **counts, "verified": sessions}
    print(json.dumps({**report, "faults": faults[:10]}, ensure_ascii=False), flush=True)
    # Not `sys.exit`: it waits for the tasks that read streams, and `asyncio.wait_for` of Python 3.11 can lose their cancellation.
    os._exit(bool(faults))


async def main():
    binary, kind, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    started = time.monotonic()
    seed = int(os.environ.get("SEED", random.getrandbits(32)))
    random.seed(seed)
    if kind in ("crash", "replicas", "points", "replica-points"):
        await mixed(binary, kind, number, started, seed)
        return
    server = Server(binary)
    server.start()
    faults, results = await KINDS[kind](server, number)
    seconds = round(time.monotonic() - started)
    server.process.terminate()
    server.process.wait(LIMIT)
    verify = subprocess.run([server.binary, "verify", "--json"], env=server.env, cwd=server.folder, capture_output=True)
    verified = json.loads(verify.stdout)
    faults += [f"{fault['session_id']}: {fault['error']}" for fault in verified["faults"]]
    report = {"attack": kind, "number": number, "seconds": seconds, "results": results, "verified": verified["sessions"]}
    print(json.dumps({**report, "entries": verified["entries"], "faults": faults[:10]}, ensure_ascii=False), flush=True)
    sys.exit(bool(faults))


asyncio.run(main())
