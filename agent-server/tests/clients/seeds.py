#!/usr/bin/env python3
"""Runs what the documents of systems 1, 2 and 4 contain, unchanged: `.env` files, curl lines, settings, and the clients that
follow from them. Usage: seeds.py BINARY UPSTREAM

The files in `seeds` are copied from these documents. Their addresses are fixed (port 8000), so the server and its clients run
in a network namespace of their own where the machine allows one, and otherwise on the port itself.
"""

import asyncio
import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time

import httpx
from websockets.asyncio.client import connect

binary, upstream_script = sys.argv[1], sys.argv[2]
SEEDS = pathlib.Path(__file__).parent / "seeds"
BASE = "http://localhost:8000"
PLAIN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
passed = 0


def check(name, holds, why=""):
    """One line for each promise; the first broken one ends the program."""
    global passed
    if not holds:
        sys.exit(f"FAILED {name}: {why}")
    passed += 1


def isolated():
    """Starts this program again in a network namespace in which port 8000 is free."""
    if os.environ.get("SEEDS_ISOLATED") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        return
    os.environ["SEEDS_ISOLATED"] = "1"
    os.execvp("unshare", ["unshare", "-rn", sys.executable, *sys.argv])


def raise_loopback():
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


def home(env):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / ".env").write_bytes(env if isinstance(env, bytes) else (SEEDS / env).read_bytes())
    return folder


def settings(folder):
    """What the server makes of a `.env`."""
    said = subprocess.run([binary, "--print-config", "--json"], cwd=folder, env=PLAIN, capture_output=True, text=True)
    check("the .env is read", said.returncode == 0, said.stderr)
    return {name: one["value"] for name, one in json.loads(said.stdout).items()}


def serve(folder, **more):
    # The files name databases and models that are not here.
    env = {**PLAIN, "DATABASE_URL": "sqlite:a.db", "CHECKPOINT_DB_URI": "sqlite:a.db", **more}
    log = open(folder / "log", "wb")
    process = subprocess.Popen([binary], cwd=folder, env=env, stdout=log, stderr=log)
    for _ in range(200):
        try:
            if httpx.get(f"{BASE}/health").status_code == 200:
                return process
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"FAILED the server starts: {(folder / 'log').read_text()}")


def end(process):
    process.terminate()
    process.wait(20)


def system_1(upstream):
    folder = home("1.env")
    held = settings(folder)
    wanted = {"DEFAULT_LLM_MODEL": "gpt-4o-mini", "LLM_TEMPERATURE": "0.7", "API_HOST": "0.0.0.0", "API_PORT": "8000",
              "DEBUG": "True", "USE_MOCK_DATA": "false", "OPENAI_API_KEY": "***", "ANTHROPIC_API_KEY": "***"}
    check("1.env", {name: held[name] for name in wanted} == wanted, held)
    server = serve(folder, OPENAI_BASE_URL=f"{upstream}/v1")
    said = subprocess.run(["bash", SEEDS / "1.sh"], capture_output=True, text=True)
    started, health = [json.loads(part) for part in said.stdout.replace("}{", "}\n{").splitlines() if part.strip()]
    check("curl: run-async", started["status"] == "started" and started["session_id"], said.stdout)
    check("curl: health", health["status"] == "healthy", said.stdout)
    asyncio.run(follow(started["session_id"]))
    error = httpx.post(f"{BASE}/api/agent/run", json={"message": ""})
    check("httpx: an empty message is FastAPI's error", error.status_code == 400 and error.json()["detail"], error.text)
    error = httpx.get(f"{BASE}/api/agent/status/nobody/")
    check("httpx: an unknown session", error.status_code == 404 and error.json()["detail"], error.text)
    log = (folder / "log").read_text()
    check("log", "[Agent] Starting execution..." in log, log)
    end(server)


async def follow(session):
    """The messages of a run, as the document lists them, to its end."""
    fields = {"todo_update": {"todo_id", "status", "progress", "message"}, "complete": {"response", "todos", "execution_time"},
              "error": {"error", "details"}, "hitl_request": {"prompt", "options"}}
    async with asyncio.timeout(30), connect(f"ws://localhost:8000/ws/{session}") as ws:
        await ws.send(json.dumps({"type": "ping", "data": {}}))
        async for frame in ws:
            message = json.loads(frame)
            kind, data = message["type"], message["data"]
            check(f"a {kind} is whole", fields.get(kind, set()) <= data.keys() and message["timestamp"], frame)
            if kind == "hitl_request":
                await ws.send(json.dumps({"type": "input", "data": {"value": " 1 "}}))
            if kind in ("complete", "error"):
                break
    check("the run completes", kind == "complete", frame)


def system_2(upstream):
    folder = home("2.env")
    check("2.env", settings(folder)["OPENAI_API_KEY"] == "***")
    server = serve(folder, OPENAI_BASE_URL=f"{upstream}/v1", API_HOST="127.0.0.1")
    check("root", httpx.get(BASE, headers={"accept": "application/json"}).json() == {"message": "AI Chat Service API"})
    for page in ("/docs", "/redoc", "/openapi.json"):
        check(page, httpx.get(BASE + page).status_code == 200)
    body = {"message": "안녕", "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with httpx.stream("POST", f"{BASE}/api/chat/stream", json=body, headers={"origin": "http://localhost:5173"}) as reply:
        lines = [line for line in reply.iter_lines() if line]
        headers = {"cache-control": "no-cache", "connection": "keep-alive", "access-control-allow-credentials": "true"}
        check("headers", headers.items() <= dict(reply.headers).items(), reply.headers)
    check("events", all(line.startswith("data: ") for line in lines) and json.loads(lines[-1][6:]) == {"done": True}, lines)
    check("chunks", "".join(json.loads(line[6:])["chunk"] for line in lines[:-1]).startswith("안녕하세요"), lines)
    end(server)


def system_4(upstream):
    env = f'VLLM_BASE_URL={upstream}\nALLOWED_ORIGINS=["http://localhost:5173", "http://app.example"]\n'
    folder = home(env.encode())
    # The document's own settings class reads the same file.
    script = (SEEDS / "4.py").read_text() + "\nprint(settings.model_dump_json())\n"
    theirs = json.loads(subprocess.run([sys.executable, "-c", script], cwd=folder, env=PLAIN, capture_output=True, text=True, check=True).stdout)
    ours = settings(folder)
    check("the address", ours["VLLM_BASE_URL"] == theirs["vllm_base_url"], (ours, theirs))
    check("the model", ours["VLLM_MODEL"] == theirs["vllm_model"], (ours, theirs))
    server = serve(folder, API_HOST="127.0.0.1")
    for origin in theirs["allowed_origins"]:
        allowed = httpx.get(f"{BASE}/health", headers={"origin": origin}).headers.get("access-control-allow-origin")
        check("an origin", allowed == origin, allowed)
    reply = httpx.post(f"{BASE}/api/v1/chat", json={"content": "안녕", "conversation_id": None}, timeout=30).json()
    check("no tools", reply["content"] and reply["tool_calls"] is None and "finish_reason" not in reply, reply)
    reply = httpx.post(f"{BASE}/api/v1/chat", json={"content": "[refuse 401]"}, timeout=30)
    check("a model's failure is FastAPI's error", reply.status_code == 502 and reply.json()["detail"], reply.text)
    end(server)
    # The document's default address of the model is this server's own.
    server = serve(home(b""), API_HOST="127.0.0.1")
    reply = httpx.post(f"{BASE}/api/v1/chat", json={"content": "안녕"})
    named = all(name in reply.json()["detail"] for name in ("VLLM_BASE_URL", "API_PORT"))
    check("an endpoint that is this server", reply.status_code == 502 and named, reply.text)
    end(server)


isolated()
if os.environ.get("SEEDS_ISOLATED"):
    raise_loopback()
model = subprocess.Popen([sys.executable, upstream_script], stdout=subprocess.PIPE, text=True)
try:
    address = f"http://127.0.0.1:{model.stdout.readline().strip()}"
    system_1(address)
    system_2(address)
    system_4(address)
finally:
    model.kill()
print(f"seeds.py: {passed} checks")
