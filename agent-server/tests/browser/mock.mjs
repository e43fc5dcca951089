// A mock server for what the real server cannot produce offline: token streams, tool approvals, forms,
// hostile text, thousands of events, 401. Same paths and messages; everything in memory.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const PAGE = new URL('../../assets/dashboard/', import.meta.url);
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' };
export const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e[x](javascript:window.hacked=1)';

const wait = ms => new Promise(resolve => setTimeout(resolve, ms));
const clone = value => JSON.parse(JSON.stringify(value));

class Session {
  constructor(id) {
    Object.assign(this, { id, status: 'idle', run: 0, journal: [], todos: new Map(), questions: new Map(), state: { messages: [] }, states: new Map([[0, { messages: [] }]]), sockets: new Set(), running: new Set(), answers: new Map(), at: Date.now(), pace: 12 });
  }

  emit(type, data, task, numbered = true) {
    const event = { ...(numbered ? { seq: this.journal.length + 1 } : {}), at: Date.now(), session: this.id, run: this.run, ...(task ? { task } : {}), type, data: clone(data) };
    if (numbered) {
      this.journal.push(event);
      this.states.set(event.seq, clone(this.state));
      this.at = event.at;
    }
    for (const socket of this.sockets) socket.send(frame(event));
    return event;
  }

  live(type, data, task) {
    return this.emit(type, data, task, false);
  }

  todo(id, title, status, progress, message = '', parent) {
    const todo = { id, title, status, progress, message, revision: (this.todos.get(id)?.revision ?? 0) + 1, ...(parent ? { parent } : {}) };
    this.todos.set(id, todo);
    this.emit('todo_updated', todo);
  }

  async tokens(task, message, text, field = 'token') {
    for (const piece of text.match(/[\s\S]{1,4}/gu) ?? []) {
      this.live(field, { message, text: piece }, task);
      await wait(this.pace);
    }
  }

  ask(task, key, question) {
    const id = `${task}:${key}`;
    const open = { id, task, question, asked_at: Date.now() };
    this.questions.set(id, open);
    this.emit('question_asked', open, task);
    return new Promise(resolve => this.answers.set(id, resolve));
  }

  pause() {
    this.status = 'paused';
    this.emit('run_paused', { questions: [...this.questions.keys()] });
  }

  answer(id, value) {
    const open = this.questions.get(id);
    this.questions.delete(id);
    this.emit('question_answered', { id, value, by: 'a REST client' }, open.task);
    this.status = 'running';
    this.answers.get(id)(value);
  }

  begin(node, task) {
    this.running.add(task);
    this.live('node_started', { node, attempt: 1 }, task);
  }

  end(node, task, update) {
    this.running.delete(task);
    Object.assign(this.state, update);
    this.emit('node_finished', { node, update }, task);
  }

  async play(message) {
    this.run += 1;
    this.status = 'running';
    this.todos.clear();
    this.state = { ...this.state, messages: [...this.state.messages, { role: 'user', content: message }] };
    this.emit('run_started', { graph: 'agent', next: ['model'], ...(message.includes('breakpoint') && { break_before: ['model'], break_after: ['model', 'answer'] }) });
    const script = message.startsWith('many') ? this.many(Number(message.split(' ')[1]) || 3000) : message.startsWith('form') ? this.form() : message.startsWith('kinds') ? this.kinds() : message.startsWith('fail') ? this.failing() : this.tools(message);
    const answer = await script;
    if (answer === undefined) return;
    this.state = { ...this.state, messages: [...this.state.messages, { role: 'assistant', content: answer }] };
    this.status = 'completed';
    this.emit('run_completed', { active_ms: 1234, supersteps: 3, response: answer });
  }

  async tools(message) {
    const hostile = message.startsWith('hostile');
    const text = hostile ? HOSTILE : '라네즈 리뷰를 찾아보겠습니다. 먼저 데이터를 모으고 😀 그다음 정리합니다.';
    this.todo('plan', hostile ? HOSTILE : '계획 세우기', 'in_progress', 10);
    this.begin('model', 'model#1');
    await this.tokens('model#1', 'model:1', '사용자가 리뷰 분석을 원한다. 도구를 쓰자.', 'reasoning');
    await this.tokens('model#1', 'model:1', text);
    const calls = [{ id: 'call_1', name: 'search_reviews', arguments: '{"brand":"라네즈","limit":20}' }, { id: 'call_2', name: hostile ? HOSTILE : 'send_mail', arguments: '{"to":"team@example.com","subject":"보고서"}' }];
    for (const [index, { id, name, arguments: all }] of calls.entries()) {
      for (const piece of ['', ...(all.match(/.{1,6}/gu) ?? [])]) {
        this.live('tool_arguments', { message: 'model:1', index, call_id: id, name, text: piece }, 'model#1');
        await wait(this.pace);
      }
    }
    this.emit('step_recorded', { key: 'model:1', kind: 'model', ms: 812, value: { message: { role: 'assistant', content: text, tool_calls: calls }, finish: 'tool_calls', usage: { input_tokens: 1812, cached_tokens: 1024, output_tokens: 421 } } }, 'model#1');
    this.todo('plan', hostile ? HOSTILE : '계획 세우기', 'completed', 100);
    this.end('model', 'model#1', { turns: 1 });
    this.emit('superstep_committed', { superstep: 1, next: ['tools'] });
    this.begin('tools', 'tools#2');
    this.todo('work', '도구로 일하기', 'in_progress', 0);
    this.todo('search', '리뷰 검색', 'in_progress', 40, '20건 중 8건', 'work');
    this.live('tool_called', { call_id: 'call_1', name: 'search_reviews', arguments: { brand: '라네즈', limit: 20 }, key: 'tool:call_1' }, 'tools#2');
    await wait(30 * this.pace);
    const found = JSON.stringify({ count: 3, reviews: [{ id: 1, text: hostile ? HOSTILE : '촉촉하고 좋아요 😀', stars: 5 }, { id: 2, text: 'Too heavy for summer', stars: 2 }] });
    this.emit('step_recorded', { key: 'tool:call_1', kind: 'tool', ms: 143, value: { message: { role: 'tool', tool_call_id: 'call_1', name: 'search_reviews', content: found } } }, 'tools#2');
    this.todo('search', '리뷰 검색', 'completed', 100, '', 'work');
    this.todo('mail', '메일 보내기', 'in_progress', 0, '승인이 필요합니다', 'work');
    const asked = this.ask('tools#2', 'approve:call_2', {
      prompt: hostile ? HOSTILE : 'May `send_mail` run?', options: ['approve', 'reject'], open: true, schema: {},
      details: { call_id: 'call_2', tool: 'send_mail', effect: 'write', arguments: { to: 'team@example.com', subject: '보고서' }, sticky: 'same_arguments', fingerprint: 'ab12' },
    });
    this.pause();
    const decision = await asked;
    this.emit('run_resumed', {});
    const rejected = decision.decision === 'reject';
    if (!rejected && decision.decision !== 'respond') {
      this.live('tool_called', { call_id: 'call_2', name: 'send_mail', arguments: decision.arguments ?? { to: 'team@example.com', subject: '보고서' }, key: 'tool:call_2' }, 'tools#2');
      await wait(20 * this.pace);
    }
    this.emit('step_recorded', { key: 'tool:call_2', kind: 'tool', ms: 61, value: { message: { role: 'tool', tool_call_id: 'call_2', name: 'send_mail', content: rejected ? `rejected: ${decision.reason}` : decision.output ?? 'sent' }, ...(rejected ? { fault: 'rejected' } : {}) } }, 'tools#2');
    this.todo('mail', '메일 보내기', rejected ? 'cancelled' : 'completed', 100, '', 'work');
    this.todo('work', '도구로 일하기', 'completed', 100);
    this.end('tools', 'tools#2', { calls: 2 });
    this.emit('superstep_committed', { superstep: 2, next: ['model'] });
    this.begin('model', 'model#3');
    const answer = hostile ? HOSTILE : `## 결과\n\n**라네즈** 리뷰 3건을 살펴봤습니다.\n\n| 주제 | 의견 |\n|---|---|\n| 보습 | 좋음 |\n| 무게감 | 나쁨 |\n\n- 결정: \`${decision.decision}\`\n- 원문은 [여기](https://example.com/)`;
    await this.tokens('model#3', 'model:1', answer);
    this.emit('step_recorded', { key: 'model:1', kind: 'model', ms: 640, value: { message: { role: 'assistant', content: answer }, finish: 'stop' } }, 'model#3');
    this.end('model', 'model#3', { turns: 2 });
    this.emit('superstep_committed', { superstep: 3, next: [] });
    return answer;
  }

  async form() {
    this.begin('model', 'model#1');
    const one = this.ask('model#1', 'order', { prompt: 'Fill in the order', schema: {
      type: 'object', required: ['name', 'count', 'kind'],
      properties: {
        name: { type: 'string', title: 'Name', minLength: 2, description: 'Who it is for' }, count: { type: 'integer', minimum: 1, maximum: 9 }, kind: { enum: ['cream', 'toner'] },
        gift: { type: 'boolean' }, tags: { type: 'array', items: { type: 'string' } }, address: { $ref: '#/$defs/Address' },
      },
      $defs: { Address: { type: 'object', required: ['city'], properties: { city: { type: 'string' }, zip: { type: 'string', pattern: '^\\d{5}$' } } } },
    } });
    const two = this.ask('model#1', 'any', { prompt: 'Anything else?' });
    this.pause();
    const said = [await one, await two];
    this.emit('run_resumed', {});
    this.end('model', 'model#1', { said });
    return `\`\`\`json\n${JSON.stringify(said)}\n\`\`\``;
  }

  async kinds() {
    this.begin('model', 'model#1');
    const asked = Object.entries(KINDS).map(([key, schema]) => this.ask('model#1', key, { prompt: `A question of kind ${key}`, schema }));
    this.pause();
    const said = await Promise.all(asked);
    this.emit('run_resumed', {});
    this.end('model', 'model#1', { said });
    return JSON.stringify(said);
  }

  async failing() {
    this.begin('model', 'model#1');
    await this.tokens('model#1', 'model:1', 'half of a sent');
    this.emit('node_failed', { node: 'model', attempt: 1, code: 'overloaded', message: 'the model is overloaded', retry_in_ms: 200 }, 'model#1');
    this.live('tokens_voided', { message: 'model:1', reason: 'overloaded' }, 'model#1');
    this.emit('node_failed', { node: 'model', attempt: 2, code: 'auth', message: 'the model refused the key' }, 'model#1');
    this.running.clear();
    this.status = 'failed';
    this.emit('run_failed', { code: 'node_failed', message: 'node `model` failed: the model refused the key', node: 'model' });
    return undefined;
  }

  async many(count) {
    this.begin('model', 'model#1');
    for (let at = 0; at < count; at += 1) {
      this.state = { ...this.state, at };
      this.emit('step_recorded', { key: `step-${at}`, kind: at % 3 === 0 ? 'tool' : 'step', ms: at % 97, value: at % 3 === 0 ? { message: { role: 'tool', tool_call_id: `c${at}`, name: 'count', content: `{"at":${at}}` } } : undefined }, 'model#1');
      this.live('token', { message: `model:${Math.floor(at / 500)}`, text: `${at} ` }, 'model#1');
      if (at % 500 === 499) await wait(1);
    }
    this.end('model', 'model#1', { done: true });
    return `counted to ${count}`;
  }

  standing() {
    const usage = { model_calls: 2, tool_calls: 2, input_tokens: 1834, output_tokens: 421, cost_micros: 5130 };
    return { session_id: this.id, status: this.status, message: '', data: { run: this.run, todos: [...this.todos.values()].map(({ id, ...rest }) => ({ ...rest, todo_id: id })), questions: [...this.questions.values()].map(question), execution_time: 1.2, last_seq: this.journal.length, usage, sizes: { entries: this.journal.length, bytes: JSON.stringify(this.journal).length }, agent: 'agent', state: this.state, running: [...this.running] } };
  }
}

/** A schema of each kind. */
const KINDS = {
  flag: { type: 'boolean' }, choice: { enum: ['red', 3, null] }, number: { type: 'number', minimum: 0.5, maximum: 9.5, description: 'How much' },
  text: { type: 'string', title: 'Your name' }, maybe: { anyOf: [{ type: 'string' }, { type: 'null' }] },
  some: { type: 'array', items: { enum: ['a', 'b', 'c'] }, minItems: 1 }, rows: { type: 'array', minItems: 1, items: { type: 'object', title: 'Product', required: ['sku'], properties: { count: { type: 'integer' }, sku: { type: 'string' } } } },
  either: { oneOf: [{ type: 'object', title: 'Card', required: ['number'], properties: { kind: { const: 'card' }, number: { type: 'string' } } }, { type: 'object', title: 'Transfer', required: ['iban'], properties: { kind: { const: 'transfer' }, iban: { type: 'string' } } }] },
};

const question = ({ id, question: { prompt, options = [], schema } }) => ({ id, prompt, options, ...(schema ? { schema } : {}) });

function frame(event) {
  const make = (type, data) => JSON.stringify({ type, data, timestamp: new Date(event.at).toISOString(), ...(event.seq ? { seq: event.seq } : {}) });
  const { data } = event;
  switch (event.type) {
    case 'todo_updated': {
      const { id, revision, ...rest } = data;
      return make('todo_update', { ...rest, todo_id: id });
    }
    case 'question_asked':
      return make('hitl_request', question(data));
    case 'run_completed':
      return make('complete', { response: data.response, todos: [], execution_time: data.active_ms / 1000 });
    case 'run_failed':
      return make('error', { error: data.message, details: { code: data.code, node: data.node } });
    case 'run_started':
    case 'run_resumed':
    case 'run_paused':
    case 'run_stopped':
      return make('status', { status: { run_started: 'started', run_resumed: 'running', run_paused: 'paused', run_stopped: 'stopped' }[event.type], run: event.run, break_before: data.break_before, break_after: data.break_after });
    default:
      return make('event', event);
  }
}

const GRAPH = {
  name: 'agent',
  nodes: [{ id: 'start', label: 'start', kind: 'start' }, { id: 'model', label: 'model', kind: 'node' }, { id: 'tools', label: 'tools', kind: 'subgraph' }, { id: 'tools/prepare', label: 'prepare', kind: 'node', parent: 'tools' }, { id: 'tools/call', label: 'call', kind: 'node', parent: 'tools' }, { id: 'review', label: 'review', kind: 'node' }, { id: 'rescue', label: 'rescue', kind: 'node' }, { id: 'end', label: 'end', kind: 'end' }],
  edges: [{ from: 'start', to: 'model', kind: 'edge' }, { from: 'model', to: 'tools', kind: 'branch', label: 'calls' }, { from: 'tools', to: 'model', kind: 'edge' }, { from: 'tools/prepare', to: 'tools/call', kind: 'send' }, { from: 'model', to: 'review', kind: 'branch' }, { from: 'review', to: 'model', kind: 'goto' }, { from: 'review', to: 'end', kind: 'edge' }, { from: 'model', to: 'rescue', kind: 'error' }, { from: 'rescue', to: 'end', kind: 'edge' }],
  mermaid: 'flowchart TD\n  start --> model\n',
};

function diff(from, to, path, out) {
  if (JSON.stringify(from) === JSON.stringify(to)) return;
  const inner = value => value !== null && typeof value === 'object';
  if (!inner(from) || !inner(to) || Array.isArray(from) !== Array.isArray(to)) {
    out.push({ op: 'replace', path, from, to });
    return;
  }
  for (const key of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const at = `${path}/${key}`;
    if (!(key in from)) out.push({ op: 'add', path: at, to: to[key] });
    else if (!(key in to)) out.push({ op: 'remove', path: at, from: from[key] });
    else diff(from[key], to[key], at, out);
  }
}

/** Starts the mock on a free port. `key`: the API key that callers must send; `sockets: false`: refuses WebSockets, as some proxies do. */
export async function mock({ key, port = 0, pace = 12, sockets: open = true, graph = GRAPH } = {}) {
  const sessions = new Map();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    const json = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body === undefined ? '' : JSON.stringify(body));
    };
    const refuse = (status, code, message) => json(status, { code, message });
    if (url.pathname === '/' || url.pathname.startsWith('/static/')) {
      const name = url.pathname === '/' ? 'index.html' : url.pathname.slice(8);
      if (!/^[a-z0-9_]+\.(html|js|css|svg)$/.test(name)) return refuse(404, 'not_found', 'there is nothing at this path');
      response.writeHead(200, { 'content-type': TYPES[name.split('.')[1]], 'content-security-policy': POLICY });
      return response.end(readFileSync(new URL(name, PAGE)));
    }
    if (key && request.headers.authorization !== `Bearer ${key}`) return refuse(401, 'unauthorized', 'a key is needed');
    let text = '';
    for await (const piece of request) text += piece;
    const body = text ? JSON.parse(text) : {};
    const [, first, id, what] = url.pathname.split('/').map(decodeURIComponent);
    const of = () => sessions.get(id);
    if (first === 'agents') return json(200, { agents: [{ name: 'agent', kind: 'agent' }] });
    if (first === 'run-async') {
      const name = body.session_id ?? `s-${sessions.size + 1}-${Math.random().toString(36).slice(2, 8)}`;
      const session = sessions.get(name) ?? new Session(name);
      session.pace = pace;
      sessions.set(name, session);
      if (session.status === 'running' || session.status === 'paused') return refuse(409, 'session_busy', 'the session is busy');
      session.play(body.message).catch(error => console.error(error));
      return json(200, { session_id: name, status: 'started', message: 'started', data: { run: session.run } });
    }
    if (first === 'sessions' && !id) {
      const status = url.searchParams.get('status');
      const all = [...sessions.values()].filter(one => !status || one.status === status).sort((a, b) => b.at - a.at);
      const from = Number(url.searchParams.get('before') ?? 0);
      const upto = from + Number(url.searchParams.get('limit') ?? 50);
      return json(200, { sessions: all.slice(from, upto).map(one => ({ session_id: one.id, title: one.state.messages.find(message => message.role === 'user')?.content ?? null, agent: 'agent', status: one.status, run: one.run, at: one.at, last_seq: one.journal.length, questions: one.questions.size, started_by: one.startedBy, scheduled_by: one.scheduledBy })), next: upto < all.length ? String(upto) : null });
    }
    if (!of()) return refuse(404, 'not_found', `there is no session \`${id}\``);
    const session = of();
    if (first === 'stop') {
      session.status = 'stopped';
      session.running.clear();
      session.emit('run_stopped', { drained: false });
      return json(200, session.standing());
    }
    if (first === 'resume') {
      if (!('value' in body)) {
        session.status = 'running';
        session.emit('run_resumed', {});
        return json(200, session.standing());
      }
      const open = body.id ?? [...session.questions.keys()][0];
      if (!session.questions.has(open)) return refuse(409, 'already_answered', 'this question was answered by a REST client');
      if (body.value?.name === '거절') return refuse(422, 'invalid_answer', `the answer to \`${open}\` does not fit at \`/address/city\`: nobody delivers there`);
      if (body.value === 'bad') return refuse(422, 'invalid_answer', 'the answer does not fit: "bad" is not allowed');
      session.answer(open, body.value);
      return json(200, { session_id: id, status: 'running', message: 'the run goes on' });
    }
    const number = name => Number(url.searchParams.get(name));
    if (request.method === 'DELETE') {
      sessions.delete(id);
      response.writeHead(204);
      return response.end();
    }
    if (what === undefined) return json(200, session.standing());
    if (what === 'journal') {
      const entries = session.journal.filter(entry => entry.seq > number('after')).slice(0, number('limit') || 200);
      return json(200, { entries, next: entries.at(-1)?.seq ?? null });
    }
    if (what === 'state') return json(200, { seq: number('at'), state: session.states.get(number('at')), todos: [], questions: [] });
    if (what === 'diff') {
      const changes = [];
      diff(session.states.get(number('from')), session.states.get(number('to')), '', changes);
      return json(200, { from: number('from'), to: number('to'), changes });
    }
    if (what === 'graph') return json(200, graph);
    if (what === 'fork') {
      const copy = new Session(`${id}-fork-${sessions.size}`);
      const at = body.at ?? session.journal.length;
      Object.assign(copy, { run: session.run, status: 'stopped', journal: session.journal.slice(0, at).map(entry => ({ ...entry, session: copy.id })), state: clone(session.states.get(at)), states: new Map([...session.states].filter(([seq]) => seq <= at)) });
      sessions.set(copy.id, copy);
      copy.emit('session_forked', { from: id, seq: at });
      return json(200, { session_id: copy.id, forked_from: id, at });
    }
    return refuse(404, 'not_found', 'there is nothing at this path');
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: protocols => (protocols.has('agent.v1') ? 'agent.v1' : false) });
  server.on('upgrade', (request, stream, head) => {
    const url = new URL(request.url, 'http://mock');
    if (!open) return stream.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    if (key && !(request.headers['sec-websocket-protocol'] ?? '').split(/,\s*/).includes(`bearer.${key}`)) return stream.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
    return sockets.handleUpgrade(request, stream, head, socket => {
      const id = decodeURIComponent(url.pathname.split('/')[2]);
      const session = sessions.get(id) ?? new Session(id);
      sessions.set(id, session);
      for (const event of session.journal) if (event.seq > Number(url.searchParams.get('after'))) socket.send(frame(event));
      session.sockets.add(socket);
      socket.on('close', () => session.sockets.delete(socket));
      socket.on('message', text => JSON.parse(text).type === 'ping' && socket.send(JSON.stringify({ type: 'pong', data: {}, timestamp: new Date().toISOString() })));
    });
  });
  await new Promise(resolve => server.listen(port, '127.0.0.1', resolve));
  return { base: `http://127.0.0.1:${server.address().port}`, sessions, cut: () => [...sessions.values()].forEach(session => session.sockets.forEach(socket => socket.terminate())), end: () => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  } };
}

if (process.argv[1] === new URL(import.meta.url).pathname) console.log((await mock({ port: Number(process.argv[2]) || 0, key: process.argv[3] })).base);
