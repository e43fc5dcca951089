"""A transcription endpoint with the messages of OpenAI's Realtime interface, in the current and the beta shape.

Utterances are found by loudness. Their texts are those of `texts`, in order. `drop` and `refuse` simulate faults.
"""
import array
import asyncio
import base64
import json

import websockets

CURRENT = {
    "type": "transcription",
    "audio": {"input": {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": {"model": "whisper-1", "language": "ko"},
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 1500},
    }},
}
BETA = {
    "modalities": ["text", "audio"],
    "input_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1", "language": "ko"},
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 1500, "create_response": False},
}
RATE = 24000
PREFIX_MS = 300


class Upstream:
    """One endpoint. `updates`, `headers` and `audio_ms` say what it got."""

    def __init__(self, texts):
        self.texts = list(texts)
        self.updates, self.headers, self.paths = [], [], []
        self.audio_ms = 0
        self.said = 0
        self.live = set()
        self.refusing = None
        self.deltas = True

    async def start(self):
        self.server = await websockets.serve(self.serve, "127.0.0.1", 0, max_size=None, process_request=self.request)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription"
        return self

    def request(self, connection, request):
        self.headers.append(request.headers)
        self.paths.append(request.path)
        return connection.respond(self.refusing, "no\n") if self.refusing else None

    async def drop(self):
        """Ends all connections without a close frame."""
        for socket in list(self.live):
            socket.transport.abort()

    async def serve(self, socket):
        self.live.add(socket)
        try:
            await Connection(self, socket).run()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.live.discard(socket)


class Connection:
    def __init__(self, upstream, socket):
        self.upstream, self.socket = upstream, socket
        self.silence_ms = 1500
        self.now = 0
        self.speech = None
        self.last_loud = 0
        self.uncommitted = 0

    async def send(self, kind, **more):
        await self.socket.send(json.dumps({"type": kind, "event_id": f"event_{id(more)}", **more}))

    async def run(self):
        await self.send("session.created", session={})
        async for text in self.socket:
            message = json.loads(text)
            match message["type"]:
                case "session.update":
                    session = message["session"]
                    self.upstream.updates.append(session)
                    detection = session.get("turn_detection") or session["audio"]["input"]["turn_detection"]
                    self.silence_ms = detection["silence_duration_ms"]
                    await self.send("session.updated", session=session)
                case "input_audio_buffer.append":
                    await self.audio(base64.b64decode(message["audio"], validate=True))
                case "input_audio_buffer.commit":
                    if self.uncommitted < 100:
                        error = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "message": "buffer too small"}
                        await self.send("error", error=error)
                    else:
                        await self.commit()
                case other:
                    raise AssertionError(f"an unknown message: {other}")

    async def audio(self, pcm):
        samples = array.array("h", pcm)
        # In steps of 20 ms.
        for at in range(0, len(samples), 480):
            part = samples[at:at + 480]
            length = len(part) * 1000 / RATE
            self.now += length
            self.uncommitted += length
            self.upstream.audio_ms += length
            if max(map(abs, part)) > 600:
                self.last_loud = self.now
                if self.speech is None:
                    self.speech = f"item_{id(self)}_{self.upstream.said}_{int(self.now)}"
                    begin = max(0, int(self.now - length - PREFIX_MS))
                    await self.send("input_audio_buffer.speech_started", item_id=self.speech, audio_start_ms=begin)
            elif self.speech and self.now - self.last_loud >= self.silence_ms:
                await self.send("input_audio_buffer.speech_stopped", item_id=self.speech, audio_end_ms=int(self.now))
                await self.commit()

    async def commit(self):
        item, self.speech, self.uncommitted = self.speech or f"item_{id(self)}_{int(self.now)}", None, 0
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        added = {"id": item, "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
        await self.send("conversation.item.added", item=added)
        number = self.upstream.said
        self.upstream.said += 1
        text = self.upstream.texts[number] if number < len(self.upstream.texts) else f"발언 {number}"
        kind = "conversation.item.input_audio_transcription"
        for word in text.split(" ") if self.upstream.deltas else []:
            await self.send(f"{kind}.delta", item_id=item, content_index=0, delta=word + " ")
            await asyncio.sleep(0)
        await self.send(f"{kind}.completed", item_id=item, content_index=0, transcript=text)
