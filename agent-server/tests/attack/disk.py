"""Faults of the disk below SQLite: a write-ahead log that ends early, damaged pages, no space left."""

import asyncio
import collections
import json
import random
import resource
import subprocess

MESSAGE = "라네즈 리뷰를 분석해줘"
ANSWER = {"value": "소비자"}
PAGE = 4096


def verify(server):
    """What `agent-server verify` finds. It must end by itself, without a panic."""
    done = subprocess.run([server.binary, "verify", "--json"], env=server.env, cwd=server.folder, capture_output=True)
    error = done.stderr.decode()
    assert "panicked" not in error, error
    return json.loads(done.stdout) if done.stdout.strip() else {"sessions": 0, "entries": 0, "faults": [error]}


async def work(server, prefix, count):
    """Runs of which some are completed and some wait. Returns those that were acknowledged."""
    acknowledged = []
    for number in range(count):
        session = f"{prefix}-{number}"
        code, _ = await server.request("POST", "/run-async", {"message": MESSAGE, "session_id": session})
        if code == 200:
            acknowledged.append(session)
        if random.random() < 0.6:
            await asyncio.sleep(0.02)
            await server.request("POST", f"/resume/{session}", ANSWER)
    return acknowledged


async def torn(server, number):
    """After each kill the write-ahead log loses its end, or bytes in it are changed, as when a disk lies about a flush. What
    remains must be a prefix of what was stored: every session can be read, and every run ends."""
    faults, results = [], collections.Counter()
    log = server.folder / "agent.db-wal"
    for turn in range(number):
        acknowledged = await work(server, f"torn-{turn}", 6)
        await asyncio.sleep(random.random() * 0.2)
        server.kill()
        size = log.stat().st_size if log.exists() else 0
        if size:
            with open(log, "r+b") as file:
                place = random.randrange(size)
                if random.random() < 0.5:
                    file.truncate(place)
                    results["truncated"] += 1
                else:
                    file.seek(place)
                    file.write(random.randbytes(min(64, size - place)))
                    results["overwritten"] += 1
        found = verify(server)
        faults += [f"turn {turn}: {fault}" for fault in found["faults"]]
        server.start()
        for session in acknowledged:
            result = await server.settle(session)
            results["lost" if result == "unknown" else result] += 1
            if result == "stuck":
                faults.append(f"{session} is stuck")
        if faults:
            break
    return faults, results


async def pages(server, number):
    """Damaged pages of the database. The damage is reported; the process neither panics nor hangs, and a copy of the file
    from before serves again."""
    faults, results = [], collections.Counter()
    await work(server, "pages", 40)
    server.process.terminate()
    server.process.wait()
    file = server.folder / "agent.db"
    whole = file.read_bytes()
    assert not verify(server)["faults"]
    for _ in range(number):
        damaged = bytearray(whole)
        page = random.randrange(len(whole) // PAGE)
        start = page * PAGE + random.randrange(PAGE - 64)
        damaged[start : start + 64] = random.randbytes(64)
        file.write_bytes(damaged)
        for rest in ("agent.db-wal", "agent.db-shm"):
            (server.folder / rest).unlink(missing_ok=True)
        try:
            found = verify(server)
            results["reported" if found["faults"] else "in unused bytes"] += 1
        except (AssertionError, ValueError) as error:
            faults.append(f"page {page}: {error}")
            break
    file.write_bytes(whole)
    if verify(server)["faults"]:
        faults.append("the copy cannot be read")
    server.start()
    return faults, results


async def continued(server, session):
    """The status of a session whose run may have lost its store: it is failed until the store is opened again."""
    for _ in range(300):
        result = await server.settle(session)
        if result != "failed":
            break
        await asyncio.sleep(0.1)
    return result


async def full(server, number):
    """No space left, several times: requests that cannot be stored are refused with 503, and the server continues when there
    is space again. The limit is that of file sizes of the process (RLIMIT_FSIZE)."""
    faults, results, acknowledged = [], collections.Counter(), set()
    limit = lambda size: resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for turn in range(number):
        files = [server.folder / "agent.db", server.folder / "agent.db-wal"]
        limit(max(file.stat().st_size if file.exists() else 0 for file in files) + random.randrange(300_000))
        refused = 0
        for attempt in range(400):
            session = f"full-{turn}-{attempt}"
            code, body = await server.request("POST", "/run-async", {"message": MESSAGE, "session_id": session})
            if code == 200:
                acknowledged.add(session)
                await server.request("POST", f"/resume/{session}", ANSWER)
                continue
            refused += 1
            if (code, body["code"]) != (503, "store_unavailable"):
                faults.append(f"{session}: {code} {body}")
            if refused == 2:
                break
        code, _ = await server.request("GET", "/ready")
        results[f"ready {code} while full"] += 1
        results["refused"] += refused
        limit(resource.RLIM_INFINITY)
        await asyncio.sleep(0.2)
        for session in list(acknowledged)[-20:]:
            result = await continued(server, session)
            results[result] += 1
            if result not in ("completed",):
                faults.append(f"{session}: {result} after the disk was full")
        if not refused:
            faults.append("nothing was refused: the disk was not full")
        if faults:
            break
    for session in acknowledged:
        result = await continued(server, session)
        if result != "completed":
            faults.append(f"{session}: {result}")
    return faults, results
