// A front end on another origin, http://localhost:5173, with credentials: fetch, streams, EventSource, WebSocket.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { FLAGS, Server, withPage } from './support.mjs';

const ORIGIN = 'http://localhost:5173';
/** The line of the document of system 1 that opens the socket. */
const CLIENT = readFileSync(new URL('../clients/seeds/1.js', import.meta.url), 'utf8');

/** A model's endpoint that says the same three pieces each time. */
function model() {
  const endpoint = createServer((request, answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    const say = (delta, finish_reason = null) => answer.write(`data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    for (const content of ['안녕', '하세요', ' 🌸']) say({ content });
    say({}, 'stop');
    answer.end('data: [DONE]\n\n');
  });
  return listening(endpoint);
}

const listening = server => new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)));

export const origin = {
  async 'origin: a front end on localhost:5173 uses every path with credentials'({ server: { binary } }) {
    const endpoint = await model();
    const front = await listening(createServer((request, answer) => {
      answer.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><link rel="icon" href="data:,"><title>front</title>');
    }));
    const server = new Server(binary);
    try {
      await server.start({ pace: 0, settings: { VLLM_BASE_URL: `http://127.0.0.1:${endpoint.address().port}` } });
      // The addresses in the documents are fixed; they are mapped to free ports.
      const rules = `MAP localhost:8000 127.0.0.1:${server.port},MAP localhost:5173 127.0.0.1:${front.address().port}`;
      const args = [...FLAGS, `--host-resolver-rules=${rules}`];
      await withPage({ args, allowed: [/status of 40[04]/] }, async page => {
        await page.goto(ORIGIN);
        const seen = await page.evaluate(async client => {
          const base = 'http://localhost:8000';
          const post = (path, body) => fetch(base + path, { method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json', 'x-front': 'yes' }, body: JSON.stringify(body) });
          const text = async path => {
            const reader = (await post(path, { message: '안녕', content: '안녕' })).body.pipeThrough(new TextDecoderStream()).getReader();
            let all = '';
            for (let part; !(part = await reader.read()).done; ) all += part.value;
            return all.split('\n\n').filter(Boolean).map(event => JSON.parse(event.slice(6)));
          };
          const source = () => new Promise((done, failed) => {
            const events = new EventSource(`${base}/api/chat/stream?message=${encodeURIComponent('안녕')}`, { withCredentials: true });
            let said = '';
            events.onerror = () => failed(new Error('the EventSource failed'));
            events.onmessage = ({ data }) => {
              const event = JSON.parse(data);
              if (event.done) { events.close(); done(said); } else said += event.chunk;
            };
          });
          const socket = sessionId => new Promise((done, failed) => {
            const ws = new Function('sessionId', `${client}; return ws;`)(sessionId);
            const kinds = [];
            ws.onerror = () => failed(new Error('the WebSocket failed'));
            ws.onmessage = ({ data }) => {
              const message = JSON.parse(data);
              kinds.push(message.type);
              if (message.type === 'hitl_request') ws.send(JSON.stringify({ type: 'input', data: { value: 'buyers' }, timestamp: new Date().toISOString() }));
              if (message.type === 'complete' || message.type === 'error') { ws.close(); done(kinds); }
            };
          });
          const health = await (await fetch(`${base}/health`, { credentials: 'include' })).json();
          const empty = await post('/api/agent/run', { message: '' });
          const unknown = await post('/api/agent/runn/', {});
          const started = await (await post('/api/agent/run-async/', { message: '라네즈 리뷰 분석해줘' })).json();
          return {
            health: health.status,
            empty: [empty.status, (await empty.json()).detail],
            unknown: [unknown.status, (await unknown.json()).detail, unknown.headers.get('x-request-id') !== null],
            kinds: await socket(started.session_id),
            chat: await text('/api/chat/stream'),
            talk: await (await post('/api/v1/chat', { content: '안녕' })).json(),
            stream: await text('/api/v1/chat/stream'),
            said: await source(),
          };
        }, CLIENT);
        assert.equal(seen.health, 'healthy');
        assert.equal(seen.empty[0], 400);
        assert.match(seen.empty[1], /`message` is missing or empty/);
        assert.equal(seen.unknown[0], 404);
        assert.match(seen.unknown[1], /nearest is `\/api\/agent\/run`/);
        assert.equal(seen.unknown[2], true, 'the request id can be read');
        assert.ok(seen.kinds.includes('todo_update') && seen.kinds.includes('hitl_request'), seen.kinds.join());
        assert.equal(seen.kinds.at(-1), 'complete');
        assert.deepEqual([seen.chat.map(event => event.chunk ?? '').join(''), seen.chat.at(-1)], ['안녕하세요 🌸', { done: true }]);
        assert.deepEqual([seen.talk.content, seen.talk.tool_calls], ['안녕하세요 🌸', null]);
        assert.equal(seen.stream.at(-1).content, '안녕하세요 🌸');
        assert.equal(seen.said, '안녕하세요 🌸');
      });
    } finally {
      await server.end();
      for (const one of [endpoint, front]) {
        one.close();
        one.closeAllConnections();
      }
    }
  },
};
