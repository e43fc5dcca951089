"""Drives the server with Python's websockets: live over npm's aimock, and over a local endpoint that can fail.

Usage: drive.py BINARY AIMOCK [PART..]
"""
import asyncio
import base64
import json
import pathlib
import resource
import subprocess
import sys
import time

import websockets

from speech import silence, speech
from support import PEOPLE, SETUP, Server, join, send, talk, until
from upstream import BETA, CURRENT, Upstream

BINARY = sys.argv[1]


async def aimock(address):
    """A meeting in Korean and English over aimock, with `kill -9` in the middle."""
    texts = [fixture["response"]["transcription"]["text"] for fixture in
             json.loads((pathlib.Path(__file__).parent / "aimock.json").read_text())["fixtures"]]
    turns = [("jimin", "ko", texts[0]), ("minsu", "en", texts[1]), ("jimin", "ko", texts[2]), ("minsu", "en", "The budget is fine.")]
    settings = {"REALTIME_API_URL": f"{address}/v1/realtime?intent=transcription"}
    server = Server(BINARY)
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
        transcript = await until(socket, "transcript", seen=seen)
        assert transcript["text"] == texts[number], transcript
        assert transcript["speaker"] == who and transcript["confidence"] > 0.9, transcript
        assert any(message["type"] == "transcript_partial" for message in seen), "partial transcripts came first"
        file = server.file("real-1.md")
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
    file = await server.get("/api/v1/meetings/real-1/markdown")
    assert file == server.file("real-1.md")
    for part in [*texts, "status: ended", "## 결정 사항", "- [ ] I'll send the price list by Friday. (담당: 민수, 기한: by Friday)"]:
        assert part in file, part
    for line in ["WebSocket accepted", "Audio chunk received", f"=== TRANSCRIPT RECEIVED: '{texts[0]}' ===",
                 "Sending transcript to frontend for meeting: real-1", "Transcript sent successfully"]:
        await server.logged(line)
    sessions = json.loads(await server.get("/sessions"))
    names = json.dumps(sessions)
    for agent in ["real-1:triage", "real-1:moderator", "real-1:minutes"]:
        assert agent in names, names
    for metric in ["meeting_transcripts_total 2", "meeting_minutes_total 1", "meeting_open 1", "meeting_clients 1",
                   'agent_runs_ended_total{agent="minutes",status="completed"} 1']:
        page = await server.get("/metrics")
        assert metric in page, (metric, [line for line in page.splitlines() if metric.split(" ")[0].split("{")[0] in line])
    await socket.close()
    await server.stop()
    # As OpenAI does since September 2026, aimock refuses the older shape.
    await server.start(**settings, REALTIME_SHAPE="beta")
    socket = await join(server, "real-2")
    await socket.send(speech("minsu", "en", "Hello")[:48000])
    assert (await until(socket, "error"))["error"] == "the transcription endpoint refused the settings of the session"
    assert (await until(socket, "status", lambda data: data["upstream"] != "connected"))["upstream"] == "lost"
    await socket.close()
    await server.stop()
    print("aimock: a meeting in Korean and English, to the Markdown file; the older shape is refused")


async def shapes():
    """Both shapes, voices without push to talk, a drop in the middle of an utterance, late clients."""
    said = [("minsu", "ko", "출시일은 다음 주로 하기로 했습니다."), ("jimin", "en", "I'll send the price list by Friday."),
            ("minsu", "ko", "제가 홍보 문구를 준비하겠습니다."), ("jimin", "ko", "예산은 얼마인가요?")]
    for shape, expected in [("current", CURRENT), ("beta", BETA)]:
        upstream = await Upstream([text for _, _, text in said]).start()
        server = Server(BINARY)
        await server.start(REALTIME_API_URL=upstream.url, REALTIME_SHAPE=shape, OPENAI_API_KEY="sk-check")
        socket = await join(server, "voices")
        await send(socket, "start", {**SETUP, "principles": []})
        speakers = []
        for number, (who, language, text) in enumerate(said):
            pcm = speech(who, language, text) + silence(1700)
            if number == 2:
                # The endpoint disconnects in the middle; the utterance is sent again.
                await talk(socket, pcm[:48000], 0.1)
                await upstream.drop()
                assert (await until(socket, "status", lambda data: data["upstream"] == "reconnecting"))["dropped_ms"] == 0
                pcm = pcm[48000:]
            await talk(socket, pcm, 0.1)
            transcript = await until(socket, "transcript")
            assert transcript["text"] == text, transcript
            speakers.append(transcript["speaker"])
        assert speakers == ["speaker-1", "speaker-2", "speaker-1", "speaker-2"], speakers
        assert upstream.updates[0] == expected, upstream.updates[0]
        assert upstream.headers[0]["authorization"] == "Bearer sk-check"
        assert upstream.headers[0].get("openai-beta") == ("realtime=v1" if shape == "beta" else None)
        # `kill -9`: the voices are recognized afterwards; a late client sees the same as an early one.
        await server.kill()
        await server.start(REALTIME_API_URL=upstream.url, REALTIME_SHAPE=shape, OPENAI_API_KEY="sk-check")
        socket = await join(server, "voices")
        upstream.texts += ["다시 왔습니다. 좋네요."]
        await talk(socket, speech("jimin", "ko", "다시 왔습니다. 좋네요.") + silence(1700), 0.1)
        again = await until(socket, "transcript", lambda data: data["text"].startswith("다시"))
        assert again["speaker"] == "speaker-2", again
        # A correction names the voice, for all of its turns.
        await send(socket, "correct", {"item_id": again["item_id"], "speaker": "jimin"})
        await until(socket, "transcript", lambda data: data["speaker"] == "jimin" and data["text"] == said[1][2])
        late = await join(server, "voices")
        texts = [(await until(late, "transcript"))["text"] for _ in range(5)]
        assert texts == [text for _, _, text in said] + ["다시 왔습니다. 좋네요."], texts
        # The language changes while the meeting takes place.
        await send(socket, "start", {**SETUP, "language": "en"})
        await until(socket, "ready", lambda data: data["language"] == "en")
        await talk(socket, speech("minsu", "en", "Good morning.") + silence(1700), 0.1)
        await until(socket, "transcript", lambda data: data["text"] == "발언 5")
        assert "\"language\": \"en\"" in json.dumps(upstream.updates[-1]), upstream.updates[-1]
        # Two clients do not send at once.
        await socket.send(silence(100))
        await late.send(silence(100))
        assert (await until(late, "error"))["details"]["code"] == "audio_busy"
        await socket.close()
        await late.close()
        await server.stop()
        print(f"{shape}: settings, voices, a drop, kill -9, corrections, language")


async def lossless():
    """`kill -9` at any moment: what was sent as `transcript` is in both files, and is sent again."""
    upstream = await Upstream([]).start()
    upstream.deltas = False
    server = Server(BINARY)
    settings = {"REALTIME_API_URL": upstream.url, "VAD_SILENCE_MS": "100"}
    word = speech("minsu", "en", "Yes.")[:9600] + silence(200)
    got = []
    for round in range(5):
        await server.start(**settings)
        socket = await join(server, "killed")
        sender = asyncio.create_task(send_for_ever(socket, word))
        before = set(got)
        again = set()
        # Each time a few transcripts later; more are on their way.
        while len(again - before) < 4 + round:
            message = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if message["type"] == "transcript":
                again.add(message["data"]["item_id"])
                got.append(message["data"]["item_id"])
        await server.kill()
        sender.cancel()
        try:
            async for message in socket:
                if (message := json.loads(message))["type"] == "transcript":
                    got.append(message["data"]["item_id"])
        except websockets.ConnectionClosed:
            pass
        assert before <= again, before - again
    log = server.file("killed.jsonl")
    assert all(json.dumps(item) in log for item in got), "a transcript that was sent is not stored"
    lines = server.file("killed.md").count("\n- [")
    assert lines >= len(set(got)) > 20, (lines, len(set(got)))
    await server.start(**settings)
    socket = await join(server, "killed")
    for _ in range(len(set(got))):
        await until(socket, "transcript")
    # A client ended the meeting, and the process is killed before the minutes: they are written after the restart.
    await send(socket, "end")
    while '"ending"' not in server.file("killed.jsonl"):
        await asyncio.sleep(0.001)
    await server.kill()
    await server.start(**settings)
    while "status: ended" not in server.file("killed.md"):
        await asyncio.sleep(0.05)
    await server.stop()
    print(f"kill -9: five times, {len(set(got))} transcripts, none lost; the minutes are written after it")


async def send_for_ever(socket, pcm):
    try:
        while True:
            await socket.send(pcm)
            await asyncio.sleep(0.01)
    except websockets.ConnectionClosed:
        pass


async def faults():
    """The endpoint is away for more than a minute of audio; the disk is full."""
    upstream = await Upstream(["하나", "둘", "셋"]).start()
    upstream.refusing = 503
    server = Server(BINARY)
    await server.start(REALTIME_API_URL=upstream.url, VAD_SILENCE_MS="200")
    socket = await join(server, "faults")
    await send(socket, "start", SETUP)
    for _ in range(70):
        await socket.send(silence(1000))
    status = await until(socket, "status", lambda data: data["dropped_ms"] >= 10_000)
    assert status == {"upstream": "reconnecting", "buffered_ms": 60000, "dropped_ms": 10000}, status
    upstream.refusing = None
    status = await until(socket, "status", lambda data: data["upstream"] == "connected" and data["buffered_ms"] == 0)
    assert status["dropped_ms"] == 10000, status
    async with asyncio.timeout(20):
        while "meeting_audio_dropped_seconds_total 10\n" not in await server.get("/metrics"):
            await asyncio.sleep(0.1)
    await talk(socket, speech("minsu", "ko", "하나") + silence(400), 0.1)
    first = await until(socket, "transcript")
    assert first["text"] == "하나" and first["start_ms"] > 69_000, first
    # No more may be written than now: the transcript is refused with an error, not lost in silence.
    size = (server.home / "meetings/faults.jsonl").stat().st_size
    subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--fsize={size + 20}:unlimited"], check=True)
    await talk(socket, speech("minsu", "ko", "둘") + silence(400), 0.1)
    assert (await until(socket, "error"))["details"]["code"] == "storage"
    subprocess.run(["prlimit", f"--pid={server.process.pid}", "--fsize=unlimited:unlimited"], check=True)
    await talk(socket, speech("minsu", "ko", "셋") + silence(400), 0.1)
    assert (await until(socket, "transcript"))["text"] == "셋"
    await server.kill()
    await server.start(REALTIME_API_URL=upstream.url)
    socket = await join(server, "faults")
    assert [(await until(socket, "transcript"))["text"] for _ in range(2)] == ["하나", "셋"]
    await socket.close()
    await server.stop()
    print("faults: 60 s are buffered, 10 s counted as dropped; a full disk is an error and the files stay whole")


async def input():
    """Bad input of every kind gets a clear error, and the server goes on."""
    long = "가나다라마바사아자차" * 10
    upstream = await Upstream([long]).start()
    server = Server(BINARY)
    await server.start(REALTIME_API_URL=upstream.url, VAD_SILENCE_MS="200")
    socket = await join(server, "input")
    deep = "[" * 100_000 + "]" * 100_000
    audio = lambda pcm: json.dumps({"type": "audio", "data": {"audio": base64.b64encode(pcm).decode()}})
    cases = [
        ("", "not_json"), ("{", "not_json"), ("[]", "not_json"), ("null", "not_json"), ('"x"', "not_json"), ("\u0000", "not_json"),
        ('{"type":5}', "not_json"), ('{"data":{}}', "not_json"), ('{"type":"stop"}', "unknown_type"), ('{"type":"start","data":[]}', "invalid_data"),
        ('{"type":"start","data":{"participants":[{"id":""}]}}', "invalid_data"), ('{"type":"start","data":{"planned_minutes":1e99}}', "invalid_data"),
        ('{"type":"start","data":{"language":"../../x"}}', "invalid_data"), ('{"type":"start","data":{"principles":["../x"]}}', "unknown_principle"),
        ('{"type":"speaker","data":{"speaker":5}}', "invalid_data"), ('{"type":"correct","data":{"item_id":"x","text":"y"}}', "unknown_item"),
        ('{"type":"audio","data":{"audio":"*"}}', "invalid_audio"), (audio(b"abc"), "invalid_audio"), (audio(bytes(240_002)), "audio_too_large"),
        (b"", "invalid_audio"), (b"abc", "invalid_audio"), (bytes(240_002), "audio_too_large"),
        ('{"type":"start","data":' + deep + "}", "invalid_data"), ('{"type":"start","data":{"title":' + deep + "}}", "invalid_data"),
    ]
    for text, code in cases:
        await socket.send(text)
        error = await until(socket, "error")
        assert error["details"]["code"] == code and error["error"], (text[:80], error)
    # Frames that a client must not send: the connection is closed with a code and a reason.
    for payload, code in [("x" * 5_000_000, 1009), (bytes(5_000_000), 1009), ('{"type":"start","data":{"title":"' + "x" * 600_000 + '"}}', 1009)]:
        other = await join(server, "input")
        try:
            await other.send(payload)
            while True:
                await asyncio.wait_for(other.recv(), 10)
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (code, "the frame is too large"), closed
    other = await join(server, "input")
    try:
        await other.send(b"\xff\xfe{", text=True)
        while True:
            await asyncio.wait_for(other.recv(), 10)
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd.code == 1007, closed
    for path in ["/ws/meetings/a%20b", "/ws/meetings/%2e%2e%2fx", "/ws/meetings/" + "x" * 129]:
        async with websockets.connect(f"ws://{server.base}{path}") as other:
            try:
                await asyncio.wait_for(other.recv(), 10)
            except websockets.ConnectionClosed as closed:
                assert closed.rcvd.code == 1008, closed
    for method, path, body, status, code in [
        ("POST", "/api/v1/meetings", b"{", 400, "invalid_request"), ("POST", "/api/v1/meetings", b"[]", 400, "invalid_request"),
        ("POST", "/api/v1/meetings", {"meeting_id": "../x"}, 400, "invalid_request"), ("POST", "/api/v1/meetings", {"title": 5}, 400, "invalid_request"),
        ("POST", "/api/v1/meetings", {"principles": ["x"]}, 400, "unknown_principle"), ("POST", "/api/v1/meetings", b"x" * 5_000_000, 413, "body_too_large"),
        ("GET", "/api/v1/meetings/none", None, 404, "meeting_not_found"), ("GET", "/api/v1/meetings/none/markdown", None, 404, "meeting_not_found"),
        ("GET", "/api/v1/meetings/a%2f..%2fb", None, 400, "invalid_request"), ("PUT", "/api/v1/principles/x", {"content": ""}, 400, "invalid_request"),
        ("PUT", "/api/v1/principles/..%2fx", {"content": "x"}, 400, "invalid_request"), ("DELETE", "/api/v1/principles/none", None, 404, "principle_not_found"),
        ("DELETE", "/api/v1/meetings", None, 405, "method_not_allowed"), ("GET", "/ws/meetings/x", None, 426, "upgrade_required"),
    ]:
        got, answer = await server.http(method, path, body)
        assert got == status and json.loads(answer)["code"] == code, (method, path, got, answer)
    # Principles: created, listed, edited while a meeting takes place, deleted.
    put = lambda phrase: server.http("PUT", "/api/v1/principles/quiet", {"content": f'# Quiet\n\n- Watch for: "{phrase}"\n'})
    assert (await put("nothing"))[0] == 201
    await send(socket, "start", {**SETUP, "principles": ["quiet"]})
    await until(socket, "ready", lambda data: data["principles"] == ["quiet"])
    assert (await put(long[:10]))[0] == 200
    # It still works: a transcript, the edited principle, and at most 50 characters of speech in the log.
    await talk(socket, speech("minsu", "ko", "안녕하세요") + silence(400), 0.1)
    assert (await until(socket, "transcript"))["text"] == long
    assert (await until(socket, "intervention"))["principle"] == "quiet"
    await server.logged(f"=== TRANSCRIPT RECEIVED: '{long[:50]}' ===")
    await server.logged("Transcript sent successfully")
    assert long[:51] not in server.log.read_text()
    assert (await server.http("DELETE", "/api/v1/principles/quiet"))[0] == 204
    await socket.close()
    await server.stop()
    print(f"input: {len(cases)} messages, 7 frames, 14 requests refused with a code; the server goes on")


async def keys():
    """With keys, only their holders join."""
    server = Server(BINARY)
    await server.start(API_KEYS="alice:a-key-of-sixteen-characters")
    assert (await server.http("GET", "/api/v1/meetings"))[0] == 401
    assert (await server.http("GET", "/api/v1/health"))[0] == 200
    try:
        await join(server, "secret")
        raise AssertionError("joined without a key")
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code == 401
    url = f"ws://{server.base}/ws/meetings/secret"
    async with websockets.connect(url, additional_headers={"authorization": "Bearer a-key-of-sixteen-characters"}) as socket:
        await until(socket, "ready")
    async with websockets.connect(url, subprotocols=["agent.v1", "bearer.a-key-of-sixteen-characters"]) as socket:
        await until(socket, "ready")
    await server.stop()
    print("keys: 401 without one")


async def demo():
    """What a stranger gets without a key."""
    server = Server(BINARY)
    done = subprocess.run([BINARY, "demo"], cwd=server.home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for part in ["speaker-1: 그럼 제품 출시 회의를 시작하겠습니다.", "speaker-2: 출시일은 십이월 십일로 하기로 했습니다.", "  ! off_topic:", "  ☐ ",
                 "## 결정 사항", "- [ ] I'll send the price list by Monday."]:
        assert part in done.stdout, (part, done.stdout)
    [file] = (server.home / "meetings").glob("demo-*.md")
    assert file.name in done.stderr, done.stderr
    wrong = subprocess.run([BINARY, "--nonsense"], cwd=server.home, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2 and "meeting demo" in wrong.stderr
    await server.start()
    for name in ["OPENAI_API_KEY", "REALTIME_API_URL", "TRANSCRIPTION_URL"]:
        await server.logged(name)
    await server.stop()
    print("demo: transcript, interventions and minutes without a key")


async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    wanted = sys.argv[3:]
    for part in [aimock, shapes, lossless, faults, input, keys, demo]:
        if wanted and part.__name__ not in wanted:
            continue
        began = time.monotonic()
        await (part(sys.argv[2]) if part is aimock else part())
        print(f"  {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
