"""Drives a meeting over a local recogniser: speech of two voices in English. Usage: recogniser.py BINARY ADDRESS"""
import asyncio
import sys
import time

from speech import silence, speech
from support import SETUP, Server, join, send, talk, until


async def main():
    server = Server(sys.argv[1])
    await server.start(TRANSCRIPTION_URL=f"{sys.argv[2]}/v1/audio/transcriptions")
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


asyncio.run(main())
