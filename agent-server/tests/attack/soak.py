"""Soak: half of the load that the server takes, for a long time. Memory, file handles and files must stay flat."""

import asyncio
import collections
import os
import pathlib
import statistics
import time

MESSAGE = "라네즈 리뷰를 분석해줘"
ANSWER = {"value": "소비자"}
# Completed sessions that are kept at most; older ones are deleted.
KEPT = 200
CLIENTS = 8
# What is compared, and by how much it may grow beside a tenth.
SLACK = {"memory": 16, "handles": 20, "threads": 4, "database": 2, "log": 8}
COLUMNS = ["minute", "runs", "p99 ms", "memory MiB", "handles", "threads", "database MiB", "log MiB", "sessions"]


async def session(server, name):
    """A run with its question and its answer."""
    code, body = await server.request("POST", "/run", {"message": MESSAGE, "session_id": name})
    if code == 200 and body["status"] == "paused":
        code, body = await server.request("POST", f"/resume/{name}", ANSWER)
    while code == 200 and (await server.status(name)) not in ("completed", "failed"):
        await asyncio.sleep(0.01)
    return code == 200


async def highest(server, seconds):
    """Runs per second of clients that do not wait."""
    end, done = time.monotonic() + seconds, 0

    async def client(number):
        nonlocal done
        turn = 0
        while time.monotonic() < end:
            turn += 1
            await session(server, f"warm-{number}-{turn}")
            done += 1

    await asyncio.gather(*[client(number) for number in range(CLIENTS)])
    return done / seconds


def measure(server):
    process = pathlib.Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    size = lambda name: (server.folder / name).stat().st_size / 2**20 if (server.folder / name).exists() else 0.0
    memory = int(status["VmRSS"].split()[0]) / 1024
    return memory, len(os.listdir(process / "fd")), int(status["Threads"]), size("agent.db"), size("agent.db-wal")


async def settled(server, tasks):
    """What the server holds without requests: after the last one has ended and connections are closed, within a minute."""
    await asyncio.gather(*tasks)
    least, same = measure(server), 0
    for _ in range(120):
        await asyncio.sleep(0.5)
        now = measure(server)
        same = same + 1 if now[1] >= least[1] else 0
        least = min(least, now, key=lambda row: row[1])
        if same == 6:
            break
    return now


async def soak(server, seconds):
    faults, results = [], collections.Counter()
    rate = await highest(server, min(20, max(5, seconds // 20))) / 2
    results["runs per second"] = round(rate, 1)
    print(f"half load: {rate:.1f} runs per second", flush=True)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for name, status in (await server.listed()).items():
        await server.request("DELETE", f"/sessions/{name}")
    times, kept, tasks, early = [], collections.deque(), set(), None
    # On a slow machine or in a short run fewer are kept, so that their number does not grow after the warm-up.
    most = max(8, min(KEPT, int(rate * seconds / 6)))
    begun, number, done = time.monotonic(), 0, 0

    async def one(name):
        nonlocal done
        start = time.monotonic()
        if not await session(server, name):
            faults.append(f"{name} was refused")
        times.append((time.monotonic() - start) * 1000)
        done += 1
        kept.append(name)
        if len(kept) > most:
            await server.request("DELETE", f"/sessions/{kept.popleft()}")

    interval = 60 if seconds >= 300 else seconds / 6
    next_row = begun + interval
    while time.monotonic() < begun + seconds:
        task = asyncio.create_task(one(f"soak-{number}"))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        if time.monotonic() >= next_row:
            next_row += interval
            memory, handles, threads, database, log = measure(server)
            p99 = statistics.quantiles(times, n=100)[98] if len(times) > 2 else 0
            minute = (time.monotonic() - begun) / 60
            cells = [f"{minute:.0f}" if interval == 60 else f"{minute:.1f}", done, f"{p99:.0f}", f"{memory:.1f}", handles]
            cells += [threads, f"{database:.1f}", f"{log:.1f}", len(kept)]
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
            times.clear()
        # The first third is warm-up. Requests that wait hold handles and memory, so both measures are without load: a machine
        # that is busy with other work makes requests wait, and is no leak.
        if early is None and time.monotonic() > begun + seconds / 3:
            paused = time.monotonic()
            early = await settled(server, tasks)
            begun += time.monotonic() - paused
            next_row += time.monotonic() - paused
    late = await settled(server, tasks)
    results["runs"] = done
    for (name, slack), before, after in zip(SLACK.items(), early, late):
        results[f"{name} without load"] = f"{before:.1f}, at the end {after:.1f}"
        if after > before * 1.1 + slack:
            faults.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return faults, results
