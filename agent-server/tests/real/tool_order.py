#!/usr/bin/env python3
"""Sends every tool of the Berkeley Function-Calling Leaderboard through `/v1/chat/completions` and compares what the model's
endpoint receives: the members of schemas must keep the order of their author. Usage: tool_order.py BINARY

Needs PyPI's bfcl-eval (only its data) and httpx.
"""

import http.server
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import httpx

binary = sys.argv[1]
data = pathlib.Path(importlib.util.find_spec("bfcl_eval").origin).parent / "data"
received = []


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        parts = [{"delta": {"role": "assistant", "content": "ok"}}, {"delta": {}, "finish_reason": "stop"}]
        events = [json.dumps({**chunk, "choices": [{"index": 0, **part}]}) for part in parts] + ["[DONE]"]
        body = "".join(f"data: {event}\n\n" for event in events).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# What the leaderboard's own client for OpenAI replaces.
TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string", "Bigint": "integer", "ArrayList": "array",
         "Array": "array", "HashMap": "object", "Hashtable": "object", "String": "string", "char": "string", "long": "integer",
         "byte": "integer", "short": "integer", "double": "number", "Boolean": "boolean", "Queue": "array", "Stack": "array",
         "Any": "string", "Set": "array", "ListNode": "object", "": "string"}


def standard(schema):
    if isinstance(schema, list):
        return [standard(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: TYPES.get(value, value) if name == "type" and isinstance(value, str) else standard(value)
        for name, value in schema.items()
    }


def is_kept(sent, arrived):
    """Whether all members of `sent` are in `arrived`, in their order. An agent may restrict a schema further."""
    if isinstance(sent, dict) and isinstance(arrived, dict):
        if "anyOf" not in sent and {"type": "null"} in arrived.get("anyOf", []):
            # An optional value in strict mode: the value or null.
            inner = {**arrived, **arrived["anyOf"][0]}
            arrived = {name: inner[name] for name in sent if name in inner}
        common = [name for name in arrived if name in sent]
        return common == list(sent) and all(is_kept(sent[name], arrived[name]) for name in sent)
    if isinstance(sent, list) and isinstance(arrived, list) and sent and isinstance(sent[0], dict):
        return len(sent) == len(arrived) and all(map(is_kept, sent, arrived))
    return True


def requests():
    """The lists of tools, each once."""
    seen = set()
    for file in sorted(data.glob("BFCL_v4_*.json")):
        if file.stem == "BFCL_v4_format_sensitivity":
            continue  # ids only
        for line in file.read_text(encoding="utf-8").splitlines():
            tools = json.loads(line).get("function") if line.strip() else None
            if tools and (text := json.dumps(tools)) not in seen:
                seen.add(text)
                yield tools
    for file in sorted(data.glob("multi_turn_func_doc/*.json")):
        yield [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
upstream = f"http://127.0.0.1:{server.server_port}"
folder = pathlib.Path(tempfile.mkdtemp())
env = {"PATH": os.environ["PATH"], "API_PORT": "0", "API_HOST": "127.0.0.1", "DATABASE_PATH": ":memory:",
       "OPENAI_BASE_URL": f"{upstream}/v1", "VLLM_BASE_URL": upstream, "OPENAI_API_KEY": "none"}
process = subprocess.Popen([binary], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=open(folder / "log", "wb"))
try:
    for _ in range(300):
        found = re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())
        if found:
            break
        time.sleep(0.1)
    else:
        sys.exit((folder / "log").read_text())
    base, tools_kept, tools_sent = found.group(), 0, 0
    with httpx.Client(base_url=base, timeout=60) as client:
        for model in ("chat", "assistant"):
            for tools in requests():
                # Names as OpenAI allows them.
                tools = [{**standard(tool), "name": re.sub(r"[^A-Za-z0-9_-]", "_", tool["name"])[:64]} for tool in tools]
                wrapped = [{"type": "function", "function": tool} for tool in tools]
                body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "tools": wrapped}
                received.clear()
                answer = client.post("/v1/chat/completions", json=body)
                if answer.status_code != 200:
                    sys.exit(f"FAILED {model}: {answer.status_code} {answer.text}\n{json.dumps(tools)[:2000]}")
                arrived = {tool["function"]["name"]: tool["function"] for tool in received[0]["tools"]}
                for tool in tools:
                    tools_sent += 1
                    there, here = arrived[tool["name"]].get("parameters"), tool.get("parameters")
                    # A plain model gets the schema as it is.
                    if is_kept(here, there) if model == "assistant" else json.dumps(here) == json.dumps(there):
                        tools_kept += 1
                    elif tools_sent - tools_kept < 4:
                        print(f"changed by {model}:\n  {json.dumps(here)}\n  {json.dumps(there)}")
finally:
    process.kill()
print(f"{tools_kept} of {tools_sent} tools arrived as they were written")
sys.exit(tools_kept != tools_sent)
