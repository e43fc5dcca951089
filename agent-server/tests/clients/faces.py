#!/usr/bin/env python3
"""Drives the chats of agent-server with httpx, curl and the openai package. Usage: faces.py BASE UPSTREAM"""

import json
import subprocess
import sys
import time

import httpx
import openai

base, upstream = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
passed = 0
SAID = "안녕하세요 🌸, 저는 가짜 모델입니다 👩‍👩‍👧."


def check(name, holds, why=""):
    """One line for each promise; the first broken one ends the program."""
    global passed
    if not holds:
        sys.exit(f"FAILED {name}: {why}")
    passed += 1


def refused(kind, call):
    """The error of a call that must fail with this type."""
    try:
        call()
    except kind as error:
        return error
    sys.exit(f"FAILED: no {kind.__name__}")


def hung_up(name, before):
    """The endpoint notices that its caller is gone."""
    for _ in range(200):
        if httpx.get(upstream).json()["gone"] > before:
            return check(name, True)
        time.sleep(0.05)
    sys.exit(f"FAILED {name}: the model's call went on")


def events(path, body):
    with httpx.stream("POST", base + path, json=body, timeout=30) as reply:
        check("content type", reply.headers["content-type"] == "text/event-stream", reply.headers)
        return [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]


def gone():
    return httpx.get(upstream).json()["gone"]


def ask(text, model="chat", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


# System 2.
got = events("/api/chat/stream", {"message": "안녕", "history": [{"role": "user", "content": "전에"}]})
check("chunks", "".join(event["chunk"] for event in got[:-1]) == SAID, got)
check("more than one chunk", len(got) > 10, len(got))
check("done", got[-1] == {"done": True}, got[-1])
got = events("/api/chat/stream", {"message": "[break]"})
check("an error before the done", "error" in got[-2] and got[-1] == {"done": True}, got)
check("an error is no chunk", [set(event) for event in got[:-2]] == [{"chunk"}], got)
curl = ["curl", "-sN", "--max-time", "20", "-G", f"{base}/api/chat/stream"]
said = subprocess.run(curl + ["--data-urlencode", "message=[echo] 물 💧", "--data-urlencode",
                              'history=[{"role":"assistant","content":"네"}]'], capture_output=True, text=True, check=True)
check("curl", '{"chunk":"assistant: 네 | user: [echo] 물 💧"}' in said.stdout, said.stdout)
before = gone()
curl[3] = "1"
subprocess.run(curl + ["--data-urlencode", "message=[hang]"], capture_output=True, check=False)
hung_up("curl that is killed ends the call", before)

# System 4.
reply = httpx.post(f"{base}/api/v1/chat", json={"content": "6*7은?"}, timeout=30)
body = reply.json()
check("a tool's result", body["content"] == "결과는 42입니다.", body)
call = body["tool_calls"][0]
check("fields of a call", (call["name"], call["arguments"], call["result"]) == ("calculator", {"expression": "6*7"}, "42"), call)
check("duration", isinstance(call["duration_ms"], int) and "error" not in call, call)
again = {"content": "[echo]", "conversation_id": body["conversation_id"]}
reply = httpx.post(f"{base}/api/v1/chat", json=again, timeout=30).json()
check("memory", "user: 6*7은? | " in reply["content"] and "tool: 42" in reply["content"], reply)
got = events("/api/v1/chat/stream", {"content": "[text call]"})
check("calls written as text", got[-1]["tool_calls"][0]["result"] == "42" and got[-1]["done"] is True, got)
check("its tags are not shown", "tool_call>" not in "".join(event.get("content", "") for event in got), got)
reply = httpx.post(f"{base}/api/v1/chat", json={"content": "[refuse 401]"}, timeout=30)
check("model failure", reply.status_code == 502, reply.text)

# OpenAI's face, by its own package.
check("models", {"chat", "trend", "assistant"} <= {model.id for model in client.models.list()})
check("a model", client.models.retrieve("assistant").id == "assistant")
whole = ask("안녕", temperature=0.1, max_tokens=50, stop=["끝"])
check("whole", whole.choices[0].message.content == SAID and whole.choices[0].finish_reason == "stop", whole)
check("usage", whole.usage.total_tokens == 18, whole.usage)
chunks = list(ask("안녕", stream=True, stream_options={"include_usage": True}))
check("role first", chunks[0].choices[0].delta.role == "assistant", chunks[0])
check("streamed", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID)
check("usage last", chunks[-1].usage.total_tokens == 18 and not chunks[-1].choices, chunks[-1])
tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
called = ask("날씨?", tools=[tool], tool_choice="required").choices[0]
check("tools of the caller", called.message.tool_calls[0].function.name == "weather", called)
with client.chat.completions.stream(model="chat", messages=[{"role": "user", "content": "x"}], tools=[tool],
                                    tool_choice="required") as stream:
    final = stream.get_final_completion().choices[0]
check("streamed calls", json.loads(final.message.tool_calls[0].function.arguments) == {"location": "San Francisco"}, final)
check("an agent", ask("6*7은?", model="assistant").choices[0].message.content == "결과는 42입니다.")
error = refused(openai.NotFoundError, lambda: ask("x", model="gpt-5"))
check("unknown model", (error.code, error.param) == ("model_not_found", "model"), error)
error = refused(openai.BadRequestError, lambda: ask("x", temperature=3))
check("a value out of range", error.param == "temperature", error)
error = refused(openai.RateLimitError, lambda: ask("[refuse 429]"))
check("rate limit", error.code == "rate_limit_exceeded", error)
refused(openai.InternalServerError, lambda: ask("[refuse 401]", stream=True))
error = refused(openai.APIError, lambda: list(ask("[break]", stream=True)))
check("an error in the middle", error.type == "server_error", error)
before = gone()
stream = ask("[hang]", stream=True)
next(iter(stream))
stream.close()
hung_up("a closed stream ends the call", before)
question = ask("라네즈 리뷰를 분석해 주세요", model="trend").choices[0].message.content
check("a question asked", question.startswith("보고서를") and "3. 마케터" in question, question)
messages = [{"role": "user", "content": "라네즈 리뷰를 분석해 주세요"}, {"role": "assistant", "content": question},
            {"role": "user", "content": "마케터"}]
report = client.chat.completions.create(model="trend", messages=messages).choices[0].message.content
check("a question answered", "이렇게 이해했습니다" in report and report.endswith(SAID), report)
print(f"faces.py: {passed} checks")
