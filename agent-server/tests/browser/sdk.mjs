// The official `openai` SDK in a page of another origin. It sends additional headers (`x-stainless-*`).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, normalize } from 'node:path';
import { FLAGS, Server, withPage } from './support.mjs';

const MODULES = new URL('./node_modules/', import.meta.url).pathname;

/** A model's endpoint that thinks and answers. */
function model() {
  const endpoint = createServer((request, answer) => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    const say = (delta, finish_reason = null) => answer.write(`data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    say({ reasoning_content: '음' });
    say({ content: '안녕하세요 🌸' });
    say({}, 'stop');
    answer.end('data: [DONE]\n\n');
  });
  return new Promise(resolve => endpoint.listen(0, '127.0.0.1', () => resolve(endpoint)));
}

/** A front end on another port, with the files of npm packages as a bundler would serve them. */
function front() {
  const pages = createServer((request, answer) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    if (!path.startsWith('/modules/')) {
      answer.writeHead(200, { 'content-type': 'text/html' });
      return answer.end('<!doctype html><link rel="icon" href="data:,"><title>front</title>');
    }
    answer.writeHead(200, { 'content-type': 'text/javascript' });
    answer.end(readFileSync(join(MODULES, normalize(path.slice('/modules/'.length)))));
  });
  return new Promise(resolve => pages.listen(0, '127.0.0.1', () => resolve(pages)));
}

export const sdk = {
  async 'sdk: the official openai package talks to /v1 from another origin'({ server: { binary } }) {
    const [endpoint, pages] = await Promise.all([model(), front()]);
    const server = new Server(binary);
    try {
      await server.start({ pace: 0, settings: { VLLM_BASE_URL: `http://127.0.0.1:${endpoint.address().port}` } });
      await withPage({ args: FLAGS, allowed: [/status of 404/] }, async page => {
        await page.goto(`http://127.0.0.1:${pages.address().port}`);
        const seen = await page.evaluate(async base => {
          const { default: OpenAI } = await import('/modules/openai/index.mjs');
          const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none', dangerouslyAllowBrowser: true, maxRetries: 0 });
          const messages = [{ role: 'user', content: '안녕' }];
          const { data: whole, response } = await client.chat.completions.create({ model: 'assistant', messages, top_k: 3 }).withResponse();
          let streamed = '';
          for await (const chunk of await client.chat.completions.create({ model: 'chat', messages, stream: true })) streamed += chunk.choices[0]?.delta.content ?? '';
          const failed = await client.chat.completions.create({ model: 'nobody', messages }).catch(error => [error.status, error.code]);
          return { whole: whole.choices[0].message, ignored: response.headers.get('x-ignored-parameters'), streamed, failed };
        }, `http://127.0.0.1:${server.port}`);
        assert.deepEqual([seen.whole.content, seen.whole.reasoning_content], ['안녕하세요 🌸', '음']);
        assert.equal(seen.ignored, 'top_k', 'the page may read the header');
        assert.equal(seen.streamed, '안녕하세요 🌸');
        assert.deepEqual(seen.failed, [404, 'model_not_found']);
      });
    } finally {
      await server.end();
      for (const other of [endpoint, pages]) {
        other.close();
        other.closeAllConnections();
      }
    }
  },
};
