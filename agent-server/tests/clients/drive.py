#!/usr/bin/env python3
"""Drives agent-server over REST (httpx) and WebSocket (websockets) and checks each message against system 1.

Exact names: a message is {type, data, timestamp} and, when it belongs to the run, `seq`; answers are
{"type": "input", "data": {"value": .., "id": ..}}; a reconnecting client says `?after=SEQ`; refusals carry `code`.
"""

import argparse
import asyncio
import datetime
import json
import re
import sys
import uuid

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

OPEN_TODO, ENDED_TODO = {"pending", "in_progress"}, {"completed", "failed", "cancelled"}
STATUSES = {"started", "running", "completed", "failed", "paused", "stopped"}
# type -> (fields that must be there, fields that may be)
FIELDS = {
    "todo_update": ({"todo_id", "status", "progress", "message"}, set()),
    "complete": ({"response", "todos", "execution_time"}, set()),
    "error": ({"error", "details"}, set()),
    "hitl_request": ({"prompt", "options", "id"}, {"schema", "deadline"}),
    "pong": (set(), set()),
}
OF_THE_RUN = {"todo_update", "complete", "hitl_request"}
ASK = "라네즈 리뷰를 분석해 주세요 💧"
ASK_ENGLISH = "Analyse the COSRX and Anua reviews"
NAMED = "Analyse the Laneige reviews for buyers"
MIB = 1024 * 1024

args = None
base = ""
passed = 0


class Failed(Exception):
    """A check did not hold."""


def check(name, holds, why=""):
    """One line for each promise; the first broken one ends the program."""
    global passed
    if not holds:
        raise Failed(f"{name}: {why}" if why != "" else name)
    passed += 1
    print(f"ok    {name}", flush=True)


def demand(name, holds, why=""):
    """Like `check`, without a line: for what is looked at in every message."""
    if not holds:
        raise Failed(f"{name}: {why}" if why != "" else name)


def note(text):
    print(f"note  {text}", flush=True)


def show(value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + "…"


def limit(seconds=None):
    return asyncio.timeout(args.wait if seconds is None else seconds)


def new_session(kind):
    return f"drive.{kind}:{uuid.uuid4().hex[:12]}"


noted = set()


def fields(kind, data, must, may):
    demand(f"{kind} data is an object", isinstance(data, dict), show(data))
    demand(f"{kind} has {sorted(must)}", must <= data.keys(), f"missing {sorted(must - data.keys())} in {show(data)}")
    extra = data.keys() - must - may
    if extra and args.strict:
        raise Failed(f"{kind} has fields beyond the contract: {sorted(extra)}")
    if extra and (kind, *sorted(extra)) not in noted:
        noted.add((kind, *sorted(extra)))
        note(f"{kind} has fields beyond the contract: {sorted(extra)}")


def check_todo_like(kind, status, progress):
    demand(f"{kind} status", status in OPEN_TODO | ENDED_TODO, show(status))
    number = isinstance(progress, (int, float)) and not isinstance(progress, bool)
    demand(f"{kind} progress is 0 to 100", number and 0 <= progress <= 100, show(progress))
    demand(f"{kind} completed means 100", status != "completed" or progress == 100, progress)


def check_message(message):
    """A server message, field by field."""
    demand("a message is an object", isinstance(message, dict), show(message))
    fields("message", message, {"type", "data", "timestamp"}, {"seq"})
    kind, data, at = message["type"], message["data"], message["timestamp"]
    demand("known type", kind in FIELDS, show(message))
    fields(kind, data, *FIELDS[kind])
    demand("timestamp is text", isinstance(at, str), show(at))
    try:
        moment = datetime.datetime.fromisoformat(at)
    except ValueError:
        raise Failed(f"timestamp is ISO-8601: {show(at)}") from None
    demand("timestamp has date, time and zone", "T" in at and moment.tzinfo is not None, at)
    if kind in OF_THE_RUN:
        demand(f"{kind} has a seq", "seq" in message, show(message))
    if message.get("seq") is not None:
        demand("seq is a whole number", isinstance(message["seq"], int) and message["seq"] >= 0, show(message["seq"]))
    if kind == "todo_update":
        demand("todo_id is text", isinstance(data["todo_id"], str) and data["todo_id"], show(data))
        demand("todo message is text", isinstance(data["message"], str), show(data))
        check_todo_like("todo_update", data["status"], data["progress"])
    elif kind == "complete":
        check_result(data)
    elif kind == "error":
        demand("error is text", isinstance(data["error"], str) and data["error"], show(data))
    elif kind == "hitl_request":
        demand("prompt is text", isinstance(data["prompt"], str) and data["prompt"], show(data))
        demand("options is a list", isinstance(data["options"], list), show(data))
        demand("id is text", isinstance(data["id"], str) and data["id"], show(data))
    return message


def check_result(data):
    demand("response is text", isinstance(data["response"], str) and data["response"].strip(), show(data))
    demand("todos is a list", isinstance(data["todos"], list) and data["todos"], show(data["todos"]))
    for todo in data["todos"]:
        demand("a todo has a status", isinstance(todo, dict) and todo.get("status") in OPEN_TODO | ENDED_TODO, show(todo))
    seconds = data["execution_time"]
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    demand("execution_time is a number", number and seconds >= 0, show(seconds))


class Socket:
    """One WebSocket subscriber. Checks every message it gets, and that `seq` only ever grows."""

    def __init__(self, name, session, after=None):
        query = "" if after is None else f"?after={after}"
        self.name, self.after = name, after
        self.url = base.replace("http", "ws", 1) + f"/ws/{session}{query}"
        self.got, self.last = [], -1 if after is None else after

    async def __aenter__(self):
        async with limit():
            self.socket = await connect(self.url, open_timeout=args.wait, close_timeout=2, ping_interval=None, max_size=8 * MIB)
        return self

    async def __aexit__(self, *_):
        try:
            async with limit(5):
                await self.socket.close()
        except (TimeoutError, ConnectionClosed):
            pass

    async def next(self, seconds=None):
        async with limit(seconds):
            text = await self.socket.recv()
        demand("messages are text frames", isinstance(text, str), f"{len(text)} bytes")
        message = check_message(json.loads(text))
        if args.verbose:
            print(f"      {self.name} < {show(message)}")
        if message.get("seq") is not None:
            grows = message["seq"] > self.last
            demand(f"seq strictly increases on {self.name}", grows, f"{message['seq']} after {self.last}: {show(message)}")
            self.last = message["seq"]
        self.got.append(message)
        return message

    async def until(self, kind, allow_error=False):
        """Reads up to the next message of a type. An `error` on the way is a failure unless it is allowed."""
        while True:
            try:
                message = await self.next()
            except TimeoutError:
                seen = [m["type"] for m in self.got][-5:]
                raise Failed(f"{kind} arrives on {self.name} within {args.wait} s; last were {seen}") from None
            if message["type"] == kind:
                return message
            if message["type"] == "error" and not allow_error:
                raise Failed(f"{kind} expected on {self.name}, got {show(message)}")

    async def upto(self, seq):
        """Reads until `seq` has arrived, then lets a ping prove that the connection is alive and has nothing else."""
        while self.last < seq:
            try:
                await self.next()
            except TimeoutError:
                raise Failed(f"seq {seq} arrives on {self.name}; the last was {self.last}") from None
        await self.ping()
        return self.run_messages()

    async def ping(self):
        await self.send("ping", {})
        return await self.until("pong", allow_error=True)

    async def send(self, kind, data):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        await self.raw(json.dumps({"type": kind, "data": data, "timestamp": now}, ensure_ascii=False))

    async def raw(self, frame):
        if args.verbose:
            print(f"      {self.name} > {show(frame) if isinstance(frame, str) else f'{len(frame)} bytes'}")
        async with limit():
            await self.socket.send(frame)

    async def answer(self, question, value=None):
        options = question["data"]["options"]
        if value is None:
            first = options[0] if options else "buyers"
            value = first.get("value", first.get("label")) if isinstance(first, dict) else first
        await self.send("input", {"value": value, "id": question["data"]["id"]})

    def run_messages(self):
        """What belongs to the run, by number."""
        return {message["seq"]: message for message in self.got if message.get("seq") is not None}


async def call(client, method, path, **more):
    async with limit(args.wait * 2):
        answer = await client.request(method, base + path, **more)
    if args.verbose:
        print(f"      {method} {path} -> {answer.status_code} {show(answer.text)}")
    return answer


def body_of(answer, name):
    try:
        body = answer.json()
    except ValueError:
        raise Failed(f"{name} answers with JSON: {answer.status_code} {show(answer.text)}") from None
    demand(f"{name} answers with an object", isinstance(body, dict), show(body))
    return body


def check_response(answer, name, session, statuses):
    body = body_of(answer, name)
    demand(f"{name} is a 200", answer.status_code == 200, f"{answer.status_code} {show(body)}")
    fields(name, body, {"session_id", "status", "message"}, {"data"})
    demand(f"{name} names the session", body["session_id"] == session, show(body))
    demand(f"{name} status is one of {sorted(statuses)}", body["status"] in statuses & STATUSES, show(body))
    demand(f"{name} message is text", isinstance(body["message"], str), show(body))
    return body


def check_refusal(answer, name, statuses):
    body = body_of(answer, name)
    check(f"{name} is refused with {'/'.join(map(str, statuses))}", answer.status_code in statuses, f"{answer.status_code} {show(body)}")
    code = body.get("code")
    demand(f"{name}: a stable `code`", isinstance(code, str) and re.fullmatch(r"[a-z][a-z0-9_.-]*", code), show(body))
    said = body.get("message") or body.get("error")
    demand(f"{name}: a text for people", isinstance(said, str) and said, show(body))
    demand(f"{name}: FastAPI's `detail`", body.get("detail") == said, show(body))
    demand(f"{name}: the path of a page", str(body.get("help")).startswith("/docs/errors"), show(body))
    return code


async def start(client, session, message, prefix="", **more):
    request = {"message": message, "session_id": session, **more}
    answer = await call(client, "POST", f"{prefix}/run-async", json=request)
    return check_response(answer, "run-async", session, {"started"})


async def status(client, session, prefix=""):
    return check_response(await call(client, "GET", f"{prefix}/status/{session}"), "status", session, STATUSES)


async def status_becomes(client, session, wanted):
    """Polls, with a limit: the socket may be a little ahead of the status."""
    try:
        async with limit():
            while True:
                body = await status(client, session)
                if body["status"] == wanted:
                    return body
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(f"status becomes {wanted} within {args.wait} s: {show(body)}") from None


def check_todos_ended(messages):
    last = {m["data"]["todo_id"]: m["data"]["status"] for m in messages if m["type"] == "todo_update"}
    demand("there are todo updates", last, "none arrived")
    open_ones = {todo: state for todo, state in last.items() if state in OPEN_TODO}
    check(f"all {len(last)} todos have ended", not open_ones, show(open_ones))


def has_hangul(text):
    return any("가" <= c <= "힣" for c in text)


# --- the parts -----------------------------------------------------------------------------------------------------


async def health(client):
    """health answers at both places"""
    for prefix in ("", "/api/agent"):
        answer = await call(client, "GET", f"{prefix}/health")
        body = body_of(answer, "health")
        check(f"GET {prefix}/health is healthy", answer.status_code == 200 and body.get("status") == "healthy", show(body))


async def main_path(client):
    """run-async, todos over the socket, a question answered, the report, reconnects"""
    session = new_session("main")
    async with Socket("first", session) as first:
        await first.ping()
        check("a subscriber may connect before the run starts; ping is answered by pong", True)
        body = await start(client, session, ASK)
        check("POST /run-async answers `started` at once", body["status"] == "started")
        question = await first.until("hitl_request")
        kinds = [m["type"] for m in first.got]
        check("todos move before the question comes", "todo_update" in kinds[: kinds.index("hitl_request")], kinds)
        check("the question has options and an id", question["data"]["options"], show(question))
        check("the question is in the language of the request", has_hangul(question["data"]["prompt"]), show(question))
        await status_becomes(client, session, "paused")
        check("status says `paused` while it waits for a person", True)
        middle = first.last
    # The first one is gone; the run and the question stay.
    async with Socket("second", session, after=middle) as second, Socket("late", session) as late:
        await second.ping()
        check("?after=SEQ repeats nothing", not second.run_messages(), show(list(second.run_messages())))
        await late.upto(middle)
        check("a late subscriber gets the whole history", late.run_messages().keys() == first.run_messages().keys(),
              f"{sorted(late.run_messages())} against {sorted(first.run_messages())}")
        await second.answer(question)
        done = await second.until("complete")
        check("the answer leads to `complete`", True)
        check("the report is in Korean", has_hangul(done["data"]["response"]), show(done))
        check("Korean survives byte for byte", "\ufffd" not in done["data"]["response"], show(done))
        await late.upto(done["seq"])
        union = {**first.run_messages(), **second.run_messages()}
        both = first.run_messages().keys() & second.run_messages().keys()
        check("a reconnected client gets nothing twice", not both, sorted(both))
        check("a reconnected client misses nothing", union == late.run_messages(), difference(union, late.run_messages()))
        check_todos_ended(late.got)
    # The question has been answered, so it is not shown again.
    union = {seq: message for seq, message in union.items() if message["type"] != "hitl_request"}
    async with Socket("after the end", session) as again:
        messages = await again.upto(done["seq"])
        check("a subscriber after the end gets the same history", messages == union, difference(messages, union))
    seqs = sorted(union)
    for cut in sorted({seqs[0], seqs[len(seqs) // 2], seqs[-2]}):
        async with Socket(f"after {cut}", session, after=cut) as some:
            messages = await some.upto(done["seq"])
            wanted = {seq: message for seq, message in union.items() if seq > cut}
            demand(f"?after={cut} gives exactly what came later", messages == wanted, difference(messages, wanted))
    check("?after=SEQ gives exactly what came later, wherever it cuts", True)
    for prefix in ("", "/api/agent"):
        body = await status(client, session, prefix)
        check(f"GET {prefix}/status says `completed`", body["status"] == "completed", show(body))
    data = body.get("data")
    fields("data at completion", data, {"response", "todos", "execution_time"}, data.keys() if isinstance(data, dict) else set())
    check_result(data)
    check("data at completion is what the socket said", data["response"] == done["data"]["response"])


def difference(have, want):
    missing, extra = sorted(want.keys() - have.keys()), sorted(have.keys() - want.keys())
    other = [f"{show(have[seq])} / {show(want[seq])}" for seq in have.keys() & want.keys() if have[seq] != want[seq]][:2]
    return f"missing {missing}, too many {extra}, other content {other}"


async def run_to_the_end(client):
    """POST /run answers with the result, or says that it waits"""
    for prefix in ("", "/api/agent"):
        session = new_session("run")
        answer = await call(client, "POST", f"{prefix}/run", json={"message": NAMED, "session_id": session, "context": {"note": "안녕"}})
        body = check_response(answer, "run", session, {"completed"})
        check_result(body.get("data") or {"response": None})
        check(f"POST {prefix}/run with a named audience completes", True)
    session = new_session("run")
    answer = await call(client, "POST", "/run", json={"message": ASK_ENGLISH, "session_id": session})
    check_response(answer, "run", session, {"paused"})
    check("POST /run that must ask answers `paused`", True)
    async with Socket("answering", session) as socket:
        question = await socket.until("hitl_request")
        check("an English request is asked in English", not has_hangul(question["data"]["prompt"]), show(question))
        await socket.answer(question)
        done = await socket.until("complete")
        check("a run begun by /run is finished over the socket", not has_hangul(done["data"]["response"].split("\n")[0]), show(done))
    answer = await call(client, "POST", "/run", json={"message": NAMED})
    made = body_of(answer, "run").get("session_id")
    check("a run without a session id gets one", answer.status_code == 200 and isinstance(made, str) and made, show(answer.text))


async def stop_and_resume(client):
    """stop, see it, resume, answer: once over REST, once over the socket"""
    for way in ("REST", "socket"):
        session = new_session("stop")
        async with Socket(f"stop by {way}", session) as socket:
            await start(client, session, ASK_ENGLISH)
            question = await socket.until("hitl_request")
            if way == "REST":
                answer = await call(client, "POST", f"/stop/{session}")
                check_response(answer, "stop", session, {"stopped"})
            else:
                await socket.send("stop", {})
            await status_becomes(client, session, "stopped")
            check(f"a stop by {way} ends in `stopped`", True)
            told = (await socket.until("error"))["data"]
            check(f"a stop by {way} is seen", told["error"] == "stopped" and told["details"]["code"] == "run_stopped", show(told))
            before = len(socket.got)
            stopped_at = socket.last
            if way == "REST":
                answer = await call(client, "POST", f"/resume/{session}")
                check_response(answer, "resume", session, {"started", "running", "paused"})
            else:
                await socket.send("resume", {})
            await status_becomes(client, session, "paused")
            check(f"a resume by {way} waits for the same person again", True)
            await socket.ping()
            asked = [m for m in socket.got[before:] if m["type"] == "hitl_request"]
            check("the question is sent again after the resume", len(asked) == 1, show(asked))
            question = asked[-1]
            await socket.answer(question)
            done = await socket.until("complete")
            check(f"a run stopped and resumed by {way} completes", done["seq"] > stopped_at, show(done))
            completes = [m for m in socket.got if m["type"] == "complete"]
            check("it completes once", len(completes) == 1, len(completes))
            check_todos_ended(socket.got)


async def answers(client):
    """unknown ids change nothing, one of two racing answers wins, a second one is refused"""
    session = new_session("race")
    async with Socket("left", session) as left, Socket("right", session) as right:
        await start(client, session, ASK)
        question = await left.until("hitl_request")
        await right.until("hitl_request")
        await left.send("input", {"value": "x", "id": "no-such-question"})
        fault = await left.until("error", allow_error=True)
        check("an answer to an unknown question is an `error`", True)
        if not (isinstance(fault["data"]["details"], dict) and isinstance(fault["data"]["details"].get("code"), str)):
            note(f"details of a refusal carry no code: {show(fault['data'])}")
        await left.ping()
        check("the refused answer changed nothing", (await status(client, session))["status"] == "paused")
        check("a refusal is told to its sender only", not any(m["type"] == "error" for m in right.got), show(right.got[-1]))
        await asyncio.gather(left.answer(question), right.answer(question))
        done = await left.until("complete", allow_error=True)
        await right.until("complete", allow_error=True)
        await left.ping()
        await right.ping()
        refused = sum(m["type"] == "error" for s in (left, right) for m in s.got) - 1
        check("exactly one of two racing answers wins", refused == 1, f"{refused} were refused")
        check("both subscribers see the same run", left.run_messages() == right.run_messages(),
              difference(left.run_messages(), right.run_messages()))
        before = len(left.got)
        await left.answer(question)
        await left.until("error", allow_error=True)
        await left.ping()
        later = [m["type"] for m in left.got[before:] if m["type"] in OF_THE_RUN]
        check("an answer after the end is an `error` and starts nothing", not later and left.last == done["seq"], later)


async def bad_frames(client):
    """malformed client messages get an error, and the connection stays open"""
    session = new_session("frames")
    async with Socket("bad", session) as socket:
        await start(client, session, ASK)
        await socket.until("hitl_request")
        before = await status(client, session)
        frames = {
            "no JSON": "hello",
            "half JSON": '{"type":"ping"',
            "empty": "",
            "a list": "[1,2]",
            "null": "null",
            "no type": "{}",
            "an unknown type": '{"type":"dance","data":{}}',
            "a type that is a number": '{"type":5,"data":{}}',
            "input without data": '{"type":"input"}',
            "input without value": '{"type":"input","data":{}}',
            "data that is text": '{"type":"input","data":"안녕"}',
            "an id that is a number": '{"type":"input","data":{"value":"x","id":7}}',
            "deep nesting": '{"type":"input","data":' + "[" * 5000 + "]" * 5000 + "}",
            "a binary frame": b"\xff\xfe\x00",
        }
        for name, frame in frames.items():
            already = sum(m["type"] == "error" for m in socket.got)
            try:
                await socket.raw(frame)
                await socket.until("error", allow_error=True)
                await socket.ping()
            except ConnectionClosed as closed:
                raise Failed(f"the connection survives {name}: {closed}") from None
            errors = sum(m["type"] == "error" for m in socket.got) - already
            check(f"{name}: one `error`, and the connection stays open", errors == 1, errors)
        after = await status(client, session)
        check("malformed messages changed nothing", after["status"] == before["status"] == "paused", show(after))


async def refusals(client):
    """the 4xx of REST, each with a code, and nothing changed"""
    session = new_session("busy")
    await start(client, session, ASK)
    before = await status_becomes(client, session, "paused")
    unknown = new_session("unknown")
    send_json = {"content-type": "application/json"}
    codes = {}
    for prefix in ("", "/api/agent"):
        for path in ("run", "run-async"):
            at = f"{prefix}/{path}"
            cases = {
                "an empty message": ({"json": {"message": ""}}, (400,)),
                "a blank message": ({"json": {"message": " \n\t"}}, (400,)),
                "no message": ({"json": {}}, (400,)),
                "a message that is null": ({"json": {"message": None}}, (400,)),
                "a message that is a number": ({"json": {"message": 5}}, (400, 422)),
                "a context that is a list": ({"json": {"message": "x", "context": [1]}}, (400, 422)),
                "a session id that is a number": ({"json": {"message": "x", "session_id": 5}}, (400, 422)),
                "an illegal session id": ({"json": {"message": "x", "session_id": "../가"}}, (400,)),
                "an empty session id": ({"json": {"message": "x", "session_id": ""}}, (400,)),
                "a session id of 129": ({"json": {"message": "x", "session_id": "a" * 129}}, (400,)),
                "a list for a body": ({"json": [1]}, (400, 422)),
                "no body": ({"content": b"", "headers": send_json}, (400,)),
                "half JSON": ({"content": b'{"message":', "headers": send_json}, (400,)),
                "bytes that are no UTF-8": ({"content": b'{"message":"\xff\xfe"}', "headers": send_json}, (400,)),
                "deep nesting": ({"content": b'{"message":"x","context":' + b"[" * 20000 + b"]" * 20000 + b"}", "headers": send_json}, (400, 422)),
                "a body over 1 MiB": ({"json": {"message": "가" * (MIB // 3 + 10)}}, (413,)),
                "a second run on a busy session": ({"json": {"message": NAMED, "session_id": session}}, (409,)),
            }
            for name, (more, statuses) in cases.items():
                code = check_refusal(await call(client, "POST", at, **more), f"{at}: {name}", statuses)
                demand(f"the code of {name} is the same everywhere", codes.setdefault(name, code) == code, f"{code}, before {codes[name]}")
            code = check_refusal(await call(client, "GET", at), f"GET {at}", (405,))
        for method, path in (("GET", "status"), ("POST", "stop"), ("POST", "resume")):
            check_refusal(await call(client, method, f"{prefix}/{path}/{unknown}"), f"{prefix}/{path}: an unknown session", (404,))
            check_refusal(await call(client, method, f"{prefix}/{path}/{'a' * 129}"), f"{prefix}/{path}: a session id of 129", (400,))
            check_refusal(await call(client, method, f"{prefix}/{path}/a%20b"), f"{prefix}/{path}: an illegal session id", (400,))
    check_refusal(await call(client, "GET", f"/no/such/{unknown}"), "an unknown path", (404,))
    for name, path in (("an illegal session id", "/ws/a%20b"), ("a session id of 129", "/ws/" + "a" * 129), ("an `after` that is no number", f"/ws/{session}?after=soon")):
        try:
            async with limit():
                async with connect(base.replace("http", "ws", 1) + path, open_timeout=args.wait, close_timeout=2):
                    pass
            raise Failed(f"a socket with {name} is refused: it was accepted")
        except InvalidStatus as refused:
            check(f"a socket with {name} is refused with 400", refused.response.status_code == 400, refused.response.status_code)
    after = await status(client, session)
    check("the refused requests changed nothing", after == before or after["status"] == "paused" and todos_of(after) == todos_of(before),
          f"{show(before)} -> {show(after)}")
    print(f"      codes: {json.dumps(codes, ensure_ascii=False)}")


def todos_of(body):
    data = body.get("data")
    return data.get("todos") if isinstance(data, dict) else None


PARTS = {
    "health": health,
    "main": main_path,
    "run": run_to_the_end,
    "stop": stop_and_resume,
    "answers": answers,
    "frames": bad_frames,
    "refusals": refusals,
}


async def drive():
    async with httpx.AsyncClient(timeout=httpx.Timeout(args.wait), trust_env=False) as client:
        for name, part in PARTS.items():
            if not args.only or name in args.only:
                print(f"\n{name}: {part.__doc__}", flush=True)
                await part(client)


def main():
    global args, base
    parser = argparse.ArgumentParser(description="Drives a running agent-server; exits 1 at the first promise that is broken.")
    parser.add_argument("base", nargs="?", default="http://127.0.0.1:8000", help="where the server is (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--strict", action="store_true", help="fields beyond the contract fail")
    parser.add_argument("--wait", type=float, default=20, help="limit of each wait in seconds (default: %(default)s)")
    parser.add_argument("--total", type=float, default=300, help="limit of the whole in seconds (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print every message")
    args = parser.parse_args()
    base = args.base.rstrip("/")
    if args.list:
        for name, part in PARTS.items():
            print(f"{name:9} {part.__doc__}")
        return 0
    try:
        asyncio.run(asyncio.wait_for(drive(), args.total))
    except Failed as failed:
        print(f"FAIL  {failed}", flush=True)
        return 1
    except (httpx.HTTPError, ConnectionClosed, InvalidStatus, OSError, TimeoutError, json.JSONDecodeError) as fault:
        print(f"FAIL  {type(fault).__name__}: {fault}", flush=True)
        return 1
    print(f"\n{passed} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
