"""A server under test and its clients, by Python's websockets."""
import asyncio
import atexit
import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import tempfile
import urllib.error
import urllib.request

import websockets


class Server:
    """A process of the program, in a folder of its own that outlives it."""

    def __init__(self, binary):
        self.binary = binary
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="meeting-"))

    async def start(self, **settings):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "REALTIME", "TRANSCRIPTION"))}
        self.log = self.home / "server.log"
        # Through a pipe: the size of files is limited in one of the checks, and SIGXFSZ stays ignored.
        self.process = await asyncio.create_subprocess_exec(
            self.binary, cwd=self.home, stderr=asyncio.subprocess.PIPE, restore_signals=False,
            env={**clean, "API_HOST": "127.0.0.1", "PORT": "0", **settings})
        atexit.register(self.end)
        self.ready = asyncio.get_running_loop().create_future()
        self.copy = asyncio.create_task(self.copy_log(self.process.stderr))
        self.base = await asyncio.wait_for(self.ready, 60)

    async def copy_log(self, stderr):
        with open(self.log, "ab", buffering=0) as log:
            while line := await stderr.readline():
                log.write(line)
                found = re.search(r"listening on http://([^,]+),", line.decode())
                if found and not self.ready.done():
                    self.ready.set_result(found[1])
        if not self.ready.done():
            self.ready.set_exception(AssertionError(self.log.read_text()))

    async def logged(self, text):
        """Waits for a line of the log."""
        async with asyncio.timeout(20):
            while text not in self.log.read_text():
                await asyncio.sleep(0.01)

    def end(self):
        """Nothing is left when a check fails."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.copy

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), 20) == 0, "the server did not stop in order"
        await self.copy

    async def http(self, method, path, body=None, headers=None):
        """Returns the status and the body of a response."""
        def ask():
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            request = urllib.request.Request(f"http://{self.base}{path}", data=data, method=method, headers=headers or {})
            try:
                with urllib.request.urlopen(request, timeout=20) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
        return await asyncio.to_thread(ask)

    async def get(self, path):
        status, body = await self.http("GET", path)
        assert status == 200, (path, status, body)
        return body

    def file(self, name):
        return (self.home / "meetings" / name).read_text()


async def join(server, meeting):
    return await websockets.connect(f"ws://{server.base}/ws/meetings/{meeting}", max_size=None)


async def until(socket, kind, holds=lambda data: True, seen=None, timeout=60):
    """Returns the data of the next message of a type for which `holds`; collects all messages in `seen`."""
    async with asyncio.timeout(timeout):
        while True:
            message = json.loads(await socket.recv())
            if seen is not None:
                seen.append(message)
            if message["type"] == kind and holds(message["data"]):
                return message["data"]


async def send(socket, kind, data=None):
    await socket.send(json.dumps({"type": kind, "data": data or {}}, ensure_ascii=False))


async def talk(socket, pcm, pace=1.0):
    """Sends audio as a microphone does, every second chunk as JSON."""
    for number, at in enumerate(range(0, len(pcm), 4800)):
        chunk = pcm[at:at + 4800]
        if number % 2:
            await send(socket, "audio", {"audio": base64.b64encode(chunk).decode()})
        else:
            await socket.send(chunk)
        await asyncio.sleep(0.1 * pace)


PEOPLE = [{"id": "minsu", "name": "민수"}, {"id": "jimin", "name": "지민"}]
SETUP = {"title": "제품 출시", "participants": PEOPLE, "language": "ko", "principles": ["clear-owner"], "planned_minutes": 30}


