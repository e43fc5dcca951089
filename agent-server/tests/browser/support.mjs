// What every scenario needs: a browser with a new profile, the real server as a process, checks, pictures.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--force-prefers-reduced-motion'];
/** How long anything may take before the scenario has failed. */
export const TIME = 30_000;

export const out = process.env.BROWSER_OUT ?? join(tmpdir(), 'dashboard');
mkdirSync(out, { recursive: true });

/** Opens a page in a new browser. `allowed`: expected console messages about refused requests, which Chromium reports as errors; `outage`: the server may be down, so refused connections are not faults. */
export async function withPage(options, work) {
  const { outage = false, allowed = [], ...context } = options;
  const profile = mkdtempSync(join(tmpdir(), 'dashboard-profile-'));
  const browser = await chromium.launchPersistentContext(profile, { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, viewport: { width: 1440, height: 900 }, timezoneId: 'Asia/Seoul', args: FLAGS, ...context });
  const faults = [];
  browser.setDefaultTimeout(TIME);
  const watch = page => {
    page.on('console', message => {
      const text = `${message.text()} ${message.location().url}`;
      const known = (outage && /ERR_CONNECTION|WebSocket|ERR_EMPTY_RESPONSE/.test(text)) || allowed.some(pattern => pattern.test(text));
      if (['error', 'warning'].includes(message.type()) && !known) faults.push(`${message.type()}: ${text}`);
    });
    page.on('pageerror', error => faults.push(`exception: ${error.stack}`));
  };
  await browser.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  browser.pages().forEach(watch);
  browser.on('page', watch);
  try {
    const page = browser.pages()[0];
    try {
      await work(page, browser);
    } catch (error) {
      await page.screenshot({ path: join(out, 'failure.png') }).catch(() => {});
      throw error;
    }
    assert.deepEqual(faults, [], 'the console is quiet');
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

export const picture = (page, name) => page.screenshot({ path: join(out, `${name}.png`) });

/** No serious finding of axe. */
export async function accessible(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const grave = violations.filter(one => ['serious', 'critical'].includes(one.impact));
  assert.deepEqual(grave.map(one => `${one.id}: ${one.nodes.map(node => `${node.html.slice(0, 160)} (${node.any.map(check => check.message).join('; ')})`).join(' | ')}`), [], `axe, ${where}`);
}

/** Sends a message by keyboard from the message box. */
export async function send(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

export const sessionOf = page => page.evaluate(() => decodeURIComponent(location.hash.split('/')[2] ?? ''));

/** The status that the head of the session shows. */
export const status = (page, wanted) => page.locator(`#session-head[data-status="${wanted}"]`).waitFor();

/** Waits until the given number of elements match. */
export const count = (page, selector, wanted) => page.waitForFunction(([css, number]) => document.querySelectorAll(css).length === number, [selector, wanted]);

/** Every entry that the timeline shows, by walking through it. */
export async function entries(page) {
  await page.click('#tab-timeline');
  await page.locator('.entry').first().waitFor();
  return page.evaluate(async () => {
    const list = document.getElementById('journal');
    const seen = [];
    for (let top = 0; ; top += list.clientHeight / 2) {
      list.scrollTop = top;
      await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      for (const row of list.querySelectorAll('.entry')) if (!seen.includes(row.dataset.key)) seen.push(row.dataset.key);
      if (top >= list.scrollHeight - list.clientHeight) break;
    }
    const size = Number(list.querySelector('.entry').getAttribute('aria-setsize'));
    return { keys: seen.map(Number), size };
  });
}

/** The real server, on one port, over one database file. */
export class Server {
  constructor(binary) {
    this.binary = binary;
    this.home = mkdtempSync(join(tmpdir(), 'dashboard-server-'));
  }

  async start({ pace = 60, settings = {} } = {}) {
    this.port ??= await freePort();
    this.base = `http://127.0.0.1:${this.port}`;
    const env = { ...process.env, API_HOST: '127.0.0.1', API_PORT: String(this.port), DATABASE_PATH: join(this.home, 'agent.db'), TREND_PACE_MS: String(pace), ...settings };
    // The offline analyst, whatever the machine's environment says.
    for (const name of ['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'ANTHROPIC_API_KEY', 'GEMINI_API_KEY', 'DATABASE_URL']) delete env[name];
    this.log = '';
    this.child = spawn(this.binary, { env, cwd: this.home, stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr.on('data', data => (this.log += data));
    const ended = new Promise(resolve => this.child.once('exit', resolve));
    this.ended = ended;
    for (let left = 200; left > 0; left -= 1) {
      if (this.child.exitCode !== null) throw new Error(`the server did not start: ${this.log}`);
      if (await fetch(`${this.base}/health`).then(answer => answer.ok, () => false)) return this;
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    throw new Error(`the server does not answer: ${this.log}`);
  }

  async kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    await this.ended;
  }

  async get(path) {
    const answer = await fetch(this.base + path);
    return { status: answer.status, body: await answer.json().catch(() => null) };
  }

  async post(path, body) {
    const answer = await fetch(this.base + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
  }

  /** A completed session, for scenarios that only read. */
  async session() {
    const post = (path, body) => fetch(this.base + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const { session_id: id } = await (await post('/run', { message: '라네즈 리뷰를 분석해줘' })).json();
    await post(`/resume/${id}`, { value: '소비자' });
    for (;;) {
      if ((await this.get(`/sessions/${id}`)).body.status === 'completed') return id;
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }

  /** The whole journal of a session, page by page. */
  async journal(id) {
    const all = [];
    for (let after = 0; ; ) {
      const { body } = await this.get(`/sessions/${id}/journal?after=${after}&limit=500`);
      all.push(...body.entries);
      if (!body.next) return all;
      after = body.next;
    }
  }

  async end() {
    if (this.child?.exitCode === null) await this.kill();
    rmSync(this.home, { recursive: true, force: true });
  }
}

function freePort() {
  return new Promise(resolve => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Runs scenarios by name and prints the duration of each. */
export async function run(scenarios, context) {
  const only = process.env.ONLY;
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (only && !name.includes(only)) continue;
    const begun = Date.now();
    try {
      await scenario(context);
    } catch (error) {
      console.error(`FAILED: ${name}`);
      throw error;
    }
    console.log(`ok  ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  }
}
