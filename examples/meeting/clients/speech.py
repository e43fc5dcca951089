"""Speech made by espeak-ng, in two voices, as 16-bit mono at 24 kHz."""
import io
import struct
import subprocess
import wave

VOICES = {"minsu": ["-p", "30", "-s", "150"], "jimin": ["-p", "72", "-s", "160"]}


def speech(who, language, text):
    voice = language if who == "minsu" else f"{language}+f4"
    out = subprocess.run(["espeak-ng", "-v", voice, *VOICES[who], "--stdout", text], capture_output=True, check=True).stdout
    file = wave.open(io.BytesIO(out))
    rate, data = file.getframerate(), file.readframes(file.getnframes())
    samples = struct.unpack(f"<{len(data) // 2}h", data[: len(data) // 2 * 2])
    count = len(samples) * 24000 // rate
    made = []
    for index in range(count):
        place = index * rate / 24000
        at = int(place)
        after = samples[min(at + 1, len(samples) - 1)]
        made.append(int(samples[at] + (after - samples[at]) * (place - at)))
    return struct.pack(f"<{count}h", *made)


def silence(ms):
    return b"\0\0" * (24 * ms)


def wav(path, pcm):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(pcm)
