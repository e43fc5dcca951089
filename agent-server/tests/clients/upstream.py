#!/usr/bin/env python3
"""A model's endpoint that speaks OpenAI's chat completions, for driving the server without a model.

Prints the port it listens on. What it answers depends on the last message: see `answer`. Standard library only.
"""

import http.server
import json
import socket
import time

state = {"gone": 0, "calls": 0}


def text_of(message):
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def images_of(message):
    """The media types of the images in a message."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    return [url.removeprefix("data:").partition(";")[0] for url in urls]


def answer(body):
    """What the model does: ("say", pieces), ("call", name, arguments), ("refuse", status), ("hang",), ("break", pieces)."""
    messages = body["messages"]
    last = messages[-1]
    asked = text_of(last)
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    if last["role"] == "tool":
        return ("say", ["결과는 ", asked, "입니다."])
    if images_of(last) and "result of" in asked:
        return ("say", ["이미지를 받았습니다: ", ", ".join(images_of(last))])
    if "[refuse " in asked:
        return ("refuse", int(asked.split("[refuse ")[1].split("]")[0]))
    if "[hang]" in asked:
        return ("hang",)
    if "[break]" in asked:
        return ("break", ["여기까지"])
    if "[text call]" in asked:
        return ("say", ["<tool_", 'call>{"name": "calculator", "argu', 'ments": {"expression": "6*7"}}</tool_call>'])
    if tools and ("calculator" in tools and "*" in asked):
        return ("call", "calculator", {"expression": "6*7"})
    if "[tool " in asked:
        name, _, arguments = asked.split("[tool ")[1].rsplit("]", 1)[0].partition(" ")
        return ("call", name, json.loads(arguments or "{}"))
    if tools and body.get("tool_choice") not in (None, "none", "auto"):
        return ("call", tools[0], {"location": "San Francisco"})
    if "[echo]" in asked:
        return ("say", [" | ".join(f"{message['role']}: {text_of(message)}" for message in messages)])
    return ("say", list("안녕하세요 🌸, ") + ["저는 ", "가짜 모델입니다 👩‍👩‍👧."])


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps(state).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        state["calls"] += 1
        what, *how = answer(body)
        if what == "refuse":
            told = json.dumps({"error": {"message": "no", "type": "server_error"}}).encode()
            self.send_response(how[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        if what == "hang":
            self.event({"content": "하나"})
            # Ready when the caller hangs up.
            self.connection.settimeout(30)
            try:
                if self.connection.recv(1) == b"":
                    state["gone"] += 1
            except (socket.timeout, OSError):
                pass
            return
        if what == "break":
            for piece in how[0]:
                self.event({"content": piece})
            return
        if what == "call":
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": how[0], "arguments": ""}}
            self.event({"role": "assistant", "tool_calls": [call]})
            self.event({"tool_calls": [{"index": 0, "function": {"arguments": json.dumps(how[1])}}]})
            self.event({}, "tool_calls")
        else:
            for piece in how[0]:
                self.event({"content": piece})
                time.sleep(0.001)
            self.event({}, "stop")
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        self.data({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.data({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [choice]})

    def data(self, chunk):
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
print(server.server_address[1], flush=True)
server.serve_forever()
