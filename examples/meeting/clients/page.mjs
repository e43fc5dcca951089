// Drives the page in Chromium with a fake microphone, and a meeting with npm's ws beside it; checks it with axe.
// Usage: page.mjs BINARY AIMOCK SPEECH.wav SCREENSHOTS
import { createRequire } from 'node:module';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';

const [binary, aimock, speech, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const home = mkdtempSync(join(tmpdir(), 'meeting-'));

function serve(settings) {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, { cwd: home, env: { PATH: process.env.PATH, API_HOST: '127.0.0.1', PORT: '0', ...settings } });
    let log = '';
    child.stderr.on('data', (data) => {
      log += data;
      const found = /listening on http:\/\/([^,]+),/.exec(log);
      if (found) resolve({ child, base: found[1] });
    });
    child.once('exit', () => reject(new Error(log)));
  });
}

/** A client by npm's ws: everything that it got, and a wait for more. */
function client(base, meeting) {
  const socket = new WebSocket(`ws://${base}/ws/meetings/${meeting}`);
  const got = [];
  socket.on('message', (data) => got.push(JSON.parse(data)));
  const until = async (kind, test = () => true) => {
    for (let wait = 0; wait < 600; wait += 1) {
      const found = got.find((message) => message.type === kind && test(message.data));
      if (found) return found.data;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`no ${kind}: ${JSON.stringify(got)}`);
  };
  const send = (type, data = {}) => socket.send(JSON.stringify({ type, data }));
  return { socket, got, until, send };
}

async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => [one.id, one.nodes[0].html]), []);
}

/** The page fits the screen, and what a finger presses is large enough. */
async function fits(page) {
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing is wider than the screen');
  const small = await page.$$eval('#form button, #controls button, #controls .button, #speakers button', (all) => all
    .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.textContent));
  assert.deepEqual(small, [], 'touch targets');
}

const { child, base } = await serve({ REALTIME_API_URL: `${aimock}/v1/realtime?intent=transcription` });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${speech}`,
    '--autoplay-policy=no-user-gesture-required'],
});
const faults = [];
try {
  const context = await browser.newContext({ permissions: ['microphone'], locale: 'ko-KR', viewport: { width: 1200, height: 860 } });
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()); });

  // The microphone, and a client of npm's ws in the same meeting.
  await page.goto(`http://${base}/meeting#browser-1`);
  await page.fill('#title', '제품 출시');
  await page.fill('#people', '민수, 지민');
  await page.waitForSelector('#principles input');
  await accessible(page);
  await page.screenshot({ path: join(screenshots, 'setup.png') });
  await page.click('button[type=submit]');
  await page.waitForSelector('#live:not([hidden])');
  const watcher = client(base, 'browser-1');
  await watcher.until('ready', (data) => data.participants.length === 2);
  await page.click('text=지민');
  await page.click('#microphone');
  await watcher.until('status', (data) => data.upstream === 'connected');
  await page.waitForFunction(() => parseFloat(document.getElementById('level').style.width) > 5);
  // A microphone takes its time: two seconds of speech.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await page.click('text=민수');
  const first = await watcher.until('transcript');
  assert.equal(first.speaker, '지민');
  await page.waitForSelector(`#transcript li:has-text("${first.text}")`);
  // A correction by the other client appears on the page, and bad input gets an error.
  watcher.send('correct', { item_id: first.item_id, text: '고친 문장' });
  await page.waitForSelector('#transcript li:has-text("고친 문장")');
  watcher.socket.send('{');
  await watcher.until('error', (data) => data.details.code === 'not_json');
  // Audio of another client is refused while the page sends.
  watcher.socket.send(Buffer.alloc(4800));
  await watcher.until('error', (data) => data.details.code === 'audio_busy');
  await page.click('text=지민');
  await watcher.until('transcript', (data) => data.item_id !== first.item_id);
  await accessible(page);
  await page.screenshot({ path: join(screenshots, 'live.png') });
  await page.click('#end');
  const minutes = await watcher.until('minutes');
  await page.waitForSelector('#minutes h2');
  await accessible(page);
  await page.screenshot({ path: join(screenshots, 'minutes.png'), fullPage: true });
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#download')]);
  assert.equal(download.suggestedFilename(), 'browser-1.md');
  assert.match(readFileSync(join(home, 'meetings/browser-1.md'), 'utf8'), /\*\*지민\*\*: 고친 문장/);
  assert.ok(minutes.markdown.includes('제품 출시'));
  watcher.socket.close();

  // The demonstration, on a small screen and in English.
  const phone = await (await browser.newContext({ locale: 'en-US', viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 })).newPage();
  phone.on('pageerror', (error) => faults.push(String(error)));
  await phone.goto(`http://${base}/meeting`);
  // The meeting of before is in the list.
  await phone.waitForSelector('#recent-list li:has-text("제품 출시") .tag.ended');
  await fits(phone);
  await accessible(phone);
  await phone.screenshot({ path: join(screenshots, 'phone-setup.png'), fullPage: true });
  await phone.click('#demo');
  await phone.waitForFunction(() => document.querySelectorAll('#transcript li').length >= 10, null, { timeout: 90_000 });
  const names = await phone.$$eval('#transcript .name', (all) => all.map((name) => name.textContent));
  assert.deepEqual([...new Set(names)], ['Speaker 1', 'Speaker 2']);
  assert.ok(await phone.$('#interventions li'), 'the moderator intervened');
  assert.ok(await phone.$('#actions li'), 'action items were found');
  await fits(phone);
  await accessible(phone);
  await phone.screenshot({ path: join(screenshots, 'phone.png'), fullPage: true });
  await phone.click('#end');
  await phone.waitForSelector('#minutes h2', { timeout: 30_000 });
  await phone.click('#language');
  assert.equal(await phone.textContent('#download'), 'Markdown 받기');
  await phone.screenshot({ path: join(screenshots, 'phone-minutes.png'), fullPage: true });

  // With keys the page asks for one. The server is killed and starts again: the page connects by itself.
  const second = await serve({ API_KEYS: 'alice:a-key-of-sixteen-characters', PORT: '0' });
  const dark = await (await browser.newContext({ locale: 'ko-KR', viewport: { width: 1200, height: 860 }, colorScheme: 'dark' })).newPage();
  await dark.goto(`http://${second.base}/meeting#keys-1`);
  await dark.waitForSelector('#key-label:not([hidden])');
  await dark.fill('#key', 'a-key-of-sixteen-characters');
  await dark.press('#key', 'Tab');
  await dark.waitForSelector('#principles input');
  await dark.fill('#title', '다시 연결');
  await dark.click('button[type=submit]');
  await dark.waitForFunction(() => document.getElementById('state').textContent === '준비됨' && document.getElementById('live-title').textContent === '다시 연결');
  await new Promise((resolve) => { second.child.once('exit', resolve); second.child.kill('SIGKILL'); });
  await dark.waitForFunction(() => document.getElementById('state').textContent.startsWith('서버에 다시 연결'));
  const third = await serve({ API_KEYS: 'alice:a-key-of-sixteen-characters', PORT: second.base.split(':')[1] });
  await dark.waitForFunction(() => document.getElementById('state').textContent === '준비됨', null, { timeout: 30_000 });
  await accessible(dark);
  await dark.screenshot({ path: join(screenshots, 'dark.png') });
  await dark.click('#leave');
  await dark.waitForSelector('#recent-list li:has-text("다시 연결")');
  third.child.kill('SIGTERM');
  assert.deepEqual(faults, []);
  console.log('chromium and ws: microphone, correction, minutes, demonstration, keys, a restart');
} catch (error) {
  console.error(error, faults);
  process.exitCode = 1;
} finally {
  await browser.close();
  child.kill('SIGTERM');
}
