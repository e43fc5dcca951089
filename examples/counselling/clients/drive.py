#!/usr/bin/env python3
"""Drives the binary with Python's websockets: the front end's client unchanged, many clients, tokens, a kill.
Usage: drive.py BINARY

The front end's client has a fixed address (port 8000), so the server and its clients run in a network namespace of their own
where the machine allows one, and otherwise on the port itself.
"""

import asyncio
import base64
import fcntl
import hashlib
import hmac
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

binary = sys.argv[1]
here = pathlib.Path(__file__).parent
KEY = "a secret of at least thirty-two bytes"
passed = 0


def check(name, holds, why=""):
    """One line for each promise; the first broken one ends the program."""
    global passed
    if not holds:
        sys.exit(f"FAILED {name}: {why}")
    passed += 1


def isolated():
    """Starts this program again in a network namespace in which port 8000 is free."""
    if os.environ.get("ISOLATED") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        return
    os.environ["ISOLATED"] = "1"
    os.execvp("unshare", ["unshare", "-rn", sys.executable, *sys.argv])


def raise_loopback():
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


def serve(folder, **settings):
    env = {"PATH": os.environ["PATH"], "API_HOST": "127.0.0.1", **settings}
    log = open(folder / "log", "ab")
    process = subprocess.Popen([binary], cwd=folder, env=env, stdout=log, stderr=log)
    for _ in range(200):
        try:
            if json.load(urllib.request.urlopen("http://localhost:8000/health"))["status"] == "healthy":
                return process
        except OSError:
            time.sleep(0.05)
    sys.exit(f"FAILED the server starts: {(folder / 'log').read_text()}")


def end(process, how=signal.SIGTERM):
    process.send_signal(how)
    process.wait(20)


def request(message, **more):
    return json.dumps({"type": "request_ai_response", "data": {"message": message, **more}})


async def answer(ws):
    """Types and text of one answer."""
    kinds, text = [], ""
    while True:
        message = json.loads(await asyncio.wait_for(ws.recv(), 20))
        kinds.append(message["type"])
        text += message["data"].get("chunk", "")
        if message["type"] in ("ai_stream_complete", "ai_stream_error"):
            return kinds, text, message["data"].get("error")


def token(subject):
    part = lambda data: base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=")
    text = part({"alg": "HS256", "typ": "JWT"}) + b"." + part({"sub": subject, "exp": 4_000_000_000})
    signature = hmac.new(KEY.encode(), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def seed():
    folder = pathlib.Path(tempfile.mkdtemp())
    server = serve(folder)
    began = time.monotonic()
    said = subprocess.run([sys.executable, here / "seed.py"], capture_output=True, text=True, timeout=30)
    check("the front end's client", said.returncode == 0 and "✅ Stream complete" in said.stdout, said.stdout + said.stderr)
    check("its order", said.stdout.index("🟢 Stream started") < said.stdout.index("📁 Chunk: ") < said.stdout.index("Full response:\n마음이"), said.stdout)
    check("its time", time.monotonic() - began < 5, time.monotonic() - began)
    log = (folder / "log").read_text()
    check("the log", "[AI Request] session=test_session_123, emotion=sad, message=안녕하세요, 요즘 우울해요" in log, log)
    check("the log of the answer", "[AI Response] session=test_session_123, length=" in log, log)
    check("without a key it says what is missing", "GEMINI_API_KEY" in log, log)
    return folder, server


async def many(folder):
    async def one(number):
        async with connect(f"ws://localhost:8000/ws/session/many-{number}") as ws:
            await ws.send(request("안녕하세요", emotion="happy"))
            return await answer(ws)

    for kinds, text, error in await asyncio.gather(*(one(number) for number in range(10))):
        check("ten clients at once", kinds[0] == "ai_stream_begin" and kinds[-1] == "ai_stream_complete" and text and not error, kinds)


async def refusals():
    async with connect("ws://localhost:8000/ws/session/refused") as ws:
        for message, error in [("  ", "메시지가 비어있습니다"), ("가" * 2001, "메시지가 너무 깁니다 (최대 2000자)")]:
            await ws.send(request(message))
            check(error, await answer(ws) == (["ai_stream_error"], "", error))
        await ws.send(b"\x00\xff")
        check("a frame that is not JSON", (await answer(ws))[0] == ["ai_stream_error"])
        for _ in range(10):
            await ws.send(request("안녕"))
            check("within the limit", (await answer(ws))[2] is None)
        await ws.send(request("안녕"))
        check("the limit", (await answer(ws))[2] == "요청이 너무 많습니다. 잠시 후 다시 시도해주세요")
        async with connect("ws://localhost:8000/ws/session/refused") as newer:
            try:
                await asyncio.wait_for(ws.recv(), 20)
                check("the older connection is closed", False)
            except ConnectionClosed as closed:
                check("4001", closed.rcvd.code == 4001, closed)
            await newer.send(request("안녕"))
            check("the limit after a reconnect", (await answer(newer))[2].startswith("요청이 너무"))
    try:
        async with connect("ws://localhost:8000/ws/session/a%20b"):
            check("an invalid id", False)
    except InvalidStatus as refused:
        check("an invalid id", refused.response.status_code == 400 and "세션 ID" in json.loads(refused.response.body)["detail"])


async def killed(folder, server):
    """Killed in the middle of an answer, started again: the session continues, and the limit is remembered."""
    async with connect("ws://localhost:8000/ws/session/killed") as ws:
        await ws.send(request("안녕하세요", emotion="sad"))
        while json.loads(await ws.recv())["type"] != "ai_stream_chunk":
            pass
        end(server, signal.SIGKILL)
        try:
            while True:
                await asyncio.wait_for(ws.recv(), 20)
        except ConnectionClosed:
            pass
    server = serve(folder)
    async with connect("ws://localhost:8000/ws/session/killed") as ws:
        await ws.send(request("다시 왔어요", emotion="sad"))
        check("after a kill", (await answer(ws))[2] is None)
    async with connect("ws://localhost:8000/ws/session/refused") as ws:
        await ws.send(request("안녕"))
        check("the limit after a restart", (await answer(ws))[2].startswith("요청이 너무"))
    return server


async def tokens():
    base = "ws://localhost:8000/ws/session/t"
    for target, more in [
        (f"{base}?token={token('alice')}", {}),
        (base, {"subprotocols": ["agent.v1", f"bearer.{token('alice')}"]}),
        (base, {"additional_headers": {"Authorization": f"Bearer {token('alice')}"}}),
    ]:
        async with connect(target, **more) as ws:
            await ws.send(request("안녕하세요"))
            check("a token", (await answer(ws))[2] is None, target)
    try:
        async with connect(base):
            check("without a token", False)
    except InvalidStatus as refused:
        check("without a token", refused.response.status_code == 401)
    async with connect(f"{base}?token={token('mallory')}") as ws:
        check("another's session", json.loads(await ws.recv())["data"]["error"] == "존재하지 않는 세션입니다")


isolated()
if os.environ.get("ISOLATED"):
    raise_loopback()
folder, server = seed()
asyncio.run(many(folder))
asyncio.run(refusals())
server = asyncio.run(killed(folder, server))
end(server)
server = serve(pathlib.Path(tempfile.mkdtemp()), JWT_SECRET_KEY=KEY, CHUNK_PACE_MS="0")
asyncio.run(tokens())
end(server)
print(f"counselling: {passed} checks passed")
