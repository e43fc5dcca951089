// Drives agent-server along the main path with npm `ws` and Node's own fetch: run-async, todos, question, answer,
// report, reconnect. One line a check; exit 1 at the first that fails. Usage: node drive.mjs [http://127.0.0.1:8000]

import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import WebSocket from 'ws';

const base = (process.argv[2] ?? 'http://127.0.0.1:8000').replace(/\/$/, '');
const WAIT = 20_000;
const session = `drive.node:${randomUUID().slice(0, 12)}`;
let passed = 0;

const fail = (why) => {
  console.log(`FAIL  ${why}`);
  process.exit(1);
};
const check = (name, holds, why = '') => {
  if (!holds) fail(`${name}: ${typeof why === 'string' ? why : JSON.stringify(why).slice(0, 300)}`);
  passed += 1;
  console.log(`ok    ${name}`);
};
const total = setTimeout(() => fail('the whole took more than 120 s'), 120_000);

const FIELDS = {
  todo_update: ['todo_id', 'status', 'progress', 'message'],
  complete: ['response', 'todos', 'execution_time'],
  error: ['error', 'details'],
  hitl_request: ['prompt', 'options', 'id'],
  pong: [],
};

/** One subscriber: keeps what arrives and lets a reader wait for a type. */
class Subscriber {
  constructor(name, after) {
    this.name = name;
    this.got = [];
    this.read = 0;
    this.last = after ?? -1;
    const query = after === undefined ? '' : `?after=${after}`;
    this.socket = new WebSocket(`${base.replace(/^http/, 'ws')}/ws/${session}${query}`, { handshakeTimeout: WAIT });
    this.socket.on('message', (bytes, binary) => this.take(bytes, binary));
    this.socket.on('error', (fault) => fail(`${name}: ${fault.message}`));
    this.socket.on('close', (code) => this.closing || fail(`${name} was closed by the server with ${code}`));
    this.opened = this.within('it opens', new Promise((done) => this.socket.on('open', done)));
  }

  within(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.name}: ${what} within ${WAIT} ms`)), WAIT);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  take(bytes, binary) {
    const message = JSON.parse(bytes.toString('utf8'));
    const wanted = FIELDS[message.type];
    if (binary || !wanted) fail(`${this.name}: unexpected ${bytes.toString('utf8').slice(0, 300)}`);
    for (const field of wanted) if (!(field in message.data)) fail(`${message.type} has no ${field}`);
    if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(message.timestamp))
      fail(`${message.type} has the timestamp ${message.timestamp}`);
    if (message.seq !== undefined && message.seq !== null) {
      if (!(message.seq > this.last)) fail(`${this.name}: seq ${message.seq} after ${this.last}`);
      this.last = message.seq;
    }
    this.got.push(message);
    this.wake?.();
  }

  until(type) {
    return this.within(`${type} arrives`, (async () => {
      for (;;) {
        while (this.read < this.got.length) {
          const message = this.got[this.read++];
          if (message.type === type) return message;
          if (message.type === 'error') fail(`${this.name}: ${JSON.stringify(message).slice(0, 300)}`);
        }
        await new Promise((wake) => (this.wake = wake));
      }
    })());
  }

  send(type, data) {
    this.socket.send(JSON.stringify({ type, data, timestamp: new Date().toISOString() }));
  }

  numbered() {
    return this.got.filter((message) => Number.isInteger(message.seq));
  }

  close() {
    this.closing = true;
    this.socket.close();
  }
}

const rest = async (method, path, body) => {
  const answer = await fetch(base + path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(WAIT),
  });
  return { code: answer.status, body: await answer.json() };
};

try {
  const first = new Subscriber('first');
  await first.opened;
  first.send('ping', {});
  await first.until('pong');
  check('ping is answered by pong before any run', true);

  const started = await rest('POST', '/api/agent/run-async', { message: '라네즈 리뷰 분석해줘', session_id: session });
  check('run-async is `started`', started.code === 200 && started.body.status === 'started', started);
  const question = await first.until('hitl_request');
  check('todos move before the question', first.got.some((message) => message.type === 'todo_update'));
  check('the question is Korean with options', /[가-힣]/.test(question.data.prompt) && question.data.options.length > 0, question);
  first.close();

  const second = new Subscriber('second', first.last);
  await second.opened;
  const option = question.data.options[0];
  second.send('input', { value: option?.value ?? option?.label ?? option, id: question.data.id });
  const done = await second.until('complete');
  check('the answer leads to a Korean report', /[가-힣]/.test(done.data.response), done);
  check('all todos of the report have ended', done.data.todos.every((todo) => !['pending', 'in_progress'].includes(todo.status)), done.data.todos);
  second.close();

  const all = new Subscriber('all');
  await all.opened;
  await all.until('complete');
  // The question has been answered, so it is not shown again.
  const joined = [...first.numbered(), ...second.numbered()].filter((message) => message.type !== 'hitl_request');
  check('a client that reconnected with ?after missed nothing and got nothing twice', isDeepStrictEqual(joined, all.numbered()),
    [joined.map((message) => message.seq), all.numbered().map((message) => message.seq)]);
  all.close();

  const status = await rest('GET', `/status/${session}`);
  check('status is `completed` with the same report', status.body.status === 'completed' && status.body.data?.response === done.data.response, status);
  const unknown = await rest('GET', `/status/drive.node:${randomUUID()}`);
  check('an unknown session is a 404 with a code', unknown.code === 404 && typeof unknown.body.code === 'string', unknown);
} catch (fault) {
  fail(fault.message);
}
clearTimeout(total);
console.log(`\n${passed} checks passed`);
process.exit(0);
