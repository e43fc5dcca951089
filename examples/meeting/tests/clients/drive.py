"""Drives the server with Python's websockets: live over aimock with kill -9 in the middle, and offline with faster-whisper.

Usage: drive.py BINARY aimock|whisper ADDRESS
"""
import asyncio
import base64
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import urllib.request

import websockets

from speech import silence, speech

BINARY, MODE, ADDRESS = sys.argv[1:4]
HOME = pathlib.Path(tempfile.mkdtemp())


class Server:
    async def start(self, **settings):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "REALTIME", "TRANSCRIPTION"))}
        self.log = HOME / "server.log"
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                BINARY, cwd=HOME, stderr=log, env={**clean, "API_HOST": "127.0.0.1", "PORT": "0", **settings})
        for _ in range(300):
            found = re.search(r"listening on http://([^,]+),", self.log.read_bytes()[begin:].decode())
            if found:
                self.base = found[1]
                return
            assert self.process.returncode is None, self.log.read_text()
            await asyncio.sleep(0.1)
        raise SystemExit("the server did not say where it listens")

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), 20) == 0, "the server did not stop in order"

    def get(self, path):
        return urllib.request.urlopen(f"http://{self.base}{path}").read().decode()


async def join(server, meeting):
    return await websockets.connect(f"ws://{server.base}/ws/meetings/{meeting}", max_size=None)


async def until(socket, kind, seen=None, timeout=60):
    async with asyncio.timeout(timeout):
        while True:
            message = json.loads(await socket.recv())
            if seen is not None:
                seen.append(message)
            if message["type"] == kind:
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


async def aimock():
    texts = [fixture["response"]["transcription"]["text"] for fixture in
             json.loads((pathlib.Path(__file__).parent / "aimock.json").read_text())["fixtures"]]
    turns = [("jimin", "ko", texts[0]), ("minsu", "en", texts[1]), ("jimin", "ko", texts[2]), ("minsu", "en", "The budget is fine.")]
    settings = {"REALTIME_API_URL": f"{ADDRESS}/v1/realtime?intent=transcription"}
    server = Server()
    await server.start(**settings)
    socket = await join(server, "real-1")
    assert (await until(socket, "ready"))["status"] == "new"
    await send(socket, "start", SETUP)
    await until(socket, "ready")
    for number, (who, language, text) in enumerate(turns):
        await send(socket, "speaker", {"speaker": who})
        await talk(socket, speech(who, language, text), 0.2)
        # The next speaker ends the turn.
        await send(socket, "speaker", {"speaker": "minsu" if who == "jimin" else "jimin"})
        seen = []
        transcript = await until(socket, "transcript", seen)
        assert transcript["text"] == texts[number], transcript
        assert transcript["speaker"] == who and transcript["confidence"] > 0.9, transcript
        assert any(message["type"] == "transcript_partial" for message in seen), "partial transcripts came first"
        file = (HOME / "meetings/real-1.md").read_text()
        assert texts[number] in file, "what was sent is in the file"
        if number == 1:
            # In the middle: the process is killed, and the meeting continues with another one.
            await server.kill()
            await server.start(**settings)
            socket = await join(server, "real-1")
            assert (await until(socket, "ready"))["participants"] == PEOPLE
            for text in texts[:2]:
                assert (await until(socket, "transcript"))["text"] == text
            print("kill -9: nothing was lost, the meeting continues")
    await send(socket, "end")
    minutes = await until(socket, "minutes")
    assert minutes["decisions"][0]["text"] == texts[0], minutes
    action = minutes["action_items"][0]
    assert (action["owner"], action["due"]) == ("minsu", "by Friday"), action
    file = server.get("/api/v1/meetings/real-1/markdown")
    assert file == (HOME / "meetings/real-1.md").read_text()
    for part in [*texts, "status: ended", "## 결정 사항", "- [ ] I'll send the price list by Friday. (담당: 민수, 기한: by Friday)"]:
        assert part in file, part
    lines = server.log.read_text()
    for line in ["WebSocket accepted", "Audio chunk received", f"=== TRANSCRIPT RECEIVED: '{texts[0]}' ===",
                 "Sending transcript to frontend for meeting: real-1", "Transcript sent successfully"]:
        assert line in lines, line
    sessions = json.loads(server.get("/sessions"))
    names = json.dumps(sessions)
    for agent in ["real-1:triage", "real-1:moderator", "real-1:minutes"]:
        assert agent in names, names
    await socket.close()
    await server.stop()
    print("aimock: a meeting in Korean and English, to the Markdown file")


async def whisper():
    server = Server()
    await server.start(TRANSCRIPTION_URL=f"{ADDRESS}/v1/audio/transcriptions")
    socket = await join(server, "offline-1")
    await send(socket, "start", {**SETUP, "language": "en"})
    said = [("minsu", "Good morning. We decided to launch the product on Monday."), ("jimin", "I will send the price list by Friday."),
            ("minsu", "What is the budget for the campaign?")]
    for who, text in said:
        await talk(socket, speech(who, "en", text) + silence(1200), 0.5)
    found = [await until(socket, "transcript", timeout=300) for _ in said]
    for transcript in found:
        print(" ", transcript["speaker"], transcript["confidence"], transcript["text"])
    text = " ".join(transcript["text"].lower() for transcript in found)
    known = [word for word in ["morning", "decided", "product", "monday", "send", "price", "friday", "budget", "campaign"] if word in text]
    assert len(known) >= 5, (known, text)
    assert [transcript["speaker"] for transcript in found] == ["speaker-1", "speaker-2", "speaker-1"], found
    await send(socket, "end")
    minutes = await until(socket, "minutes", timeout=120)
    print(minutes["markdown"])
    await socket.close()
    await server.stop()
    print(f"faster-whisper: {len(known)} of 9 words, two voices")


asyncio.run({"aimock": aimock, "whisper": whisper}[MODE]())
