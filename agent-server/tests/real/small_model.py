#!/usr/bin/env python3
"""Runs the trend agent with a small real model that may be wrong but must not invent anything.
Usage: small_model.py BINARY MODEL_URL [NUMBER]; NUMBER of the requests below, default 2

Each request runs twice: without a model, and with it. What the model's report says is checked here, without the server's own
check: ids and quotes against the shipped reviews, figures against the report without a model, the reviews and the request.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import httpx

binary, model_url = sys.argv[1], sys.argv[2]
DATA = pathlib.Path(__file__).parents[3] / "examples/trend-agent/data/reviews.jsonl"
REVIEWS = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines() if line.strip()]
IDS = {review["id"] for review in REVIEWS}
TEXTS = "\n".join(review["text"] for review in REVIEWS)
# The facts of the first fit into the model's context, so that its report is checked; those of the second do not.
REQUESTS = [
    "Analyse the Anua toner reviews since January 2026",
    "라네즈 립 마스크 리뷰를 분석해줘",
    "Which is better at moisture, Laneige or Innisfree?",
    "Analyse the Laneige reviews",
]
SECONDS = 2400
# A model on two cores reads a prompt of some thousand tokens for minutes before it writes.
SLOW = {"FIRST_TOKEN_SECONDS": "900", "ANSWER_SECONDS": "1200"}
REQUESTS = REQUESTS[: int(sys.argv[3]) if len(sys.argv) > 3 else 2]


def serve(**more):
    folder = pathlib.Path(tempfile.mkdtemp())
    log = open(folder / "log", "wb")
    env = {"PATH": os.environ["PATH"], "API_PORT": "0", "API_HOST": "127.0.0.1", "DATABASE_PATH": ":memory:", **more}
    process = subprocess.Popen([binary], cwd=folder, env=env, stdout=log, stderr=log)
    for _ in range(300):
        found = re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())
        if found:
            return process, found.group()
        time.sleep(0.1)
    sys.exit(f"the server did not start: {(folder / 'log').read_text()}")


def run(base, message):
    answer = httpx.post(f"{base}/run", json={"message": message}, timeout=SECONDS)
    if answer.status_code != 200:
        sys.exit(f"FAILED {message}: {answer.status_code} {answer.text}")
    body = answer.json()
    if body["status"] == "paused":
        # The built-in question for whom the report is written.
        session = body["session_id"]
        answer = httpx.post(f"{base}/resume/{session}", json={"value": "1"}, timeout=SECONDS)
        deadline = time.monotonic() + SECONDS
        while (body := httpx.get(f"{base}/status/{session}").json())["status"] in ("running", "started"):
            if time.monotonic() > deadline:
                sys.exit(f"FAILED {message}: still running after {SECONDS} s")
            time.sleep(0.2)
    if body["status"] != "completed":
        sys.exit(f"FAILED {message}: {body}")
    return body["data"]["response"]


def figures(text):
    """The numbers of a text, without those inside ids and without the numbering of lists."""
    text = re.sub(r"\b[A-Z]{2}-\d{3}\b", " ", text)
    text = re.sub(r"(?m)^\s*\d+[.)]\s", " ", text)
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))}


def invented(report, plain, message):
    """What a report says that is in neither the reviews, the report without a model, nor the request."""
    faults = [f"review {found}" for found in re.findall(r"\b[A-Z]{2}-\d{3}\b", report) if found not in IDS]
    for quote in re.findall(r"[“\"「『«]([^”\"」』»]{12,})[”\"」』»]", report):
        pieces = [piece.strip(" .,!?…") for piece in re.split(r"…|\.\.\.", quote)]
        if any(piece and piece not in TEXTS and piece not in plain and piece not in message for piece in pieces):
            faults.append(f"quote “{quote}”")
    known = figures(plain) | figures(message) | figures(TEXTS)
    faults += [f"figure {number:g}" for number in sorted(figures(report) - known)]
    return faults


# The check itself must be able to fail.
assert invented("LN-999 has 977 “a text that no review contains”.", "", "") == [
    "review LN-999",
    "quote “a text that no review contains”",
    "figure 977",
]
without, plain_base = serve(USE_MOCK_DATA="true")
with_model, base = serve(OPENAI_BASE_URL=f"{model_url}/v1", OPENAI_API_KEY="none", DEFAULT_LLM_MODEL="smollm2", **SLOW)
try:
    for message in REQUESTS:
        started = time.monotonic()
        plain, report = run(plain_base, message), run(base, message)
        faults = invented(report, plain, message)
        replaced = re.search(r"(?m)^> (The language model's report is not shown: .*|언어 모델의 보고서는 .*)$", report)
        written = re.search(r"(?m)^> (Written by a language model|언어 모델이)", report)
        author = f"the built-in analyst ({replaced[1]})" if replaced else "the model" if written else "the built-in analyst"
        print(f"{time.monotonic() - started:6.1f} s  {message}: {len(report)} characters by {author}", flush=True)
        if os.environ.get("SHOW_REPORTS"):
            print(report, flush=True)
        if faults:
            sys.exit(f"FAILED {message}: invented {faults}\n{report}")
finally:
    without.kill()
    with_model.kill()
print(f"{len(REQUESTS)} requests with a real model: nothing invented")
