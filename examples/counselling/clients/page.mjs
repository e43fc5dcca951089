// Drives the page in Chromium: `node page.mjs BINARY`. Pictures go to $BROWSER_OUT.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const out = process.env.BROWSER_OUT ?? join(tmpdir(), 'counselling');
mkdirSync(out, { recursive: true });
const home = mkdtempSync(join(tmpdir(), 'counselling-'));
let server;
let base;

async function serve(settings = {}) {
  const env = { PATH: process.env.PATH, API_HOST: '127.0.0.1', PORT: new URL(base ?? 'http://x:0').port || '0', ...settings };
  server = spawn(process.argv[2], { cwd: home, env, stdio: ['ignore', 'ignore', 'pipe'] });
  server.log = '';
  base = await new Promise((resolve, reject) => {
    server.stderr.on('data', data => {
      server.log += data;
      const found = /listening on (http:\/\/[^,]+),/.exec(server.log);
      if (found) resolve(found[1]);
    });
    server.once('exit', () => reject(new Error(`the server ended: ${server.log}`)));
  });
}

const stop = signal => new Promise(resolve => {
  server.once('exit', resolve);
  server.kill(signal);
});

const faults = [];
async function open(browser, path, options = {}) {
  const context = await browser.newContext({ locale: 'ko-KR', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on('pageerror', error => faults.push(error.stack));
  page.on('console', message => {
    if (message.type() === 'error' && !/ERR_CONNECTION|WebSocket/.test(message.text())) faults.push(message.text());
  });
  await page.addInitScript(() => {
    // Headless Chromium has no voices: what would be spoken is kept.
    window.spoken = [];
    window.speechSynthesis.speak = utterance => window.spoken.push([utterance.lang, utterance.text]);
    window.SpeechRecognition = window.webkitSpeechRecognition = class {
      start() {
        const result = Object.assign([{ transcript: '말로 한 이야기예요' }], { isFinal: true });
        setTimeout(() => { this.onresult({ results: [result] }); this.onend(); });
      }
      stop() {}
    };
  });
  await page.goto(`${base}${path}`);
  await page.locator('#connection[data-state="open"]').waitFor();
  return page;
}

async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(violations.filter(one => ['serious', 'critical'].includes(one.impact)).map(one => [one.id, one.nodes[0].html]), []);
}

const answers = (page, count) => page.waitForFunction(wanted => document.querySelectorAll('li.counsellor:not(.hello):not(.waiting)').length === wanted && !document.querySelector('.waiting') && document.querySelector('li.counsellor:last-child')?.textContent.length > 20, count);

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ['--no-sandbox', '--disable-gpu'] });
try {
  await serve();

  // Korean, desktop.
  const page = await open(browser, '/counselling?session=web-ko');
  assert.equal(await page.getAttribute('html', 'lang'), 'ko');
  assert.equal(await page.locator('#emotions input').count(), 8);
  await accessible(page);
  await page.click('#speak');
  await page.click('#emotions label:has([value="sad"])');
  await page.fill('#message', '요즘 우울해요 <b>정말</b>');
  await page.press('#message', 'Enter');
  await page.locator('li.counsellor:not(.hello):not(.waiting)').waitFor();
  const part = await page.textContent('li.counsellor:not(.hello)');
  await answers(page, 1);
  await page.waitForFunction(() => /있었나요\?$/.test(document.querySelector('li.counsellor:not(.hello)').textContent));
  const whole = await page.textContent('li.counsellor:not(.hello)');
  assert.ok(part.length < whole.length && whole.startsWith(part), 'the text streams');
  assert.match(whole, /슬픔/, 'the emotion counts');
  assert.match(await page.textContent('li.client'), /슬픔요즘 우울해요 <b>정말<\/b>/);
  await page.waitForFunction(() => window.spoken.length === 3);
  assert.deepEqual(await page.evaluate(() => window.spoken.map(one => one[0])), ['ko-KR', 'ko-KR', 'ko-KR']);
  await page.screenshot({ path: join(out, 'korean.png') });

  // Speech in.
  await page.click('#listen');
  await page.locator('li.client', { hasText: '말로 한 이야기예요' }).waitFor();
  await page.waitForFunction(() => !document.querySelector('#send').disabled);

  // Help lines are links.
  await page.fill('#message', '죽고 싶어요');
  await page.click('#send');
  await page.locator('a[href="tel:109"]').waitFor();
  await page.locator('a[href="tel:1577-0199"]').first().waitFor();
  await page.screenshot({ path: join(out, 'help-lines.png') });

  // Too long: the page counts code points as the server does.
  await page.fill('#message', '😀'.repeat(2001));
  assert.match(await page.textContent('#hint'), /1자를 줄여/);
  assert.ok(await page.isDisabled('#send'));
  await page.fill('#message', '😀'.repeat(2000));
  assert.ok(await page.isEnabled('#send'));
  await page.fill('#message', '');

  // The server is killed and starts again: the page connects by itself.
  await stop('SIGKILL');
  await page.locator('#connection[data-state="closed"]').waitFor();
  await serve();
  await page.locator('#connection[data-state="open"]').waitFor();
  await page.fill('#message', '다시 왔어요');
  await page.press('#message', 'Enter');
  await page.waitForFunction(() => !document.querySelector('#send').disabled && document.querySelectorAll('li.counsellor:not(.hello)').length === 4);

  // A second window takes the session over, and shows what was said.
  const second = await open(browser, '/counselling?session=web-ko');
  await second.waitForFunction(() => document.querySelectorAll('li.client').length === 4);
  assert.match(await second.textContent('li.client'), /슬픔요즘 우울해요 <b>정말<\/b>/);
  assert.equal(await second.textContent('li.counsellor:not(.hello)'), whole);
  assert.ok(await second.locator('a[href="tel:109"]').count());
  await page.locator('#connection', { hasText: '다른 창에서' }).waitFor();
  await second.context().close();
  await page.context().close();

  // English, on a phone.
  const phone = await open(browser, '/counselling?session=web-en&lang=en', { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2, colorScheme: 'dark' });
  assert.equal(await phone.textContent('h1'), 'Counselling');
  await accessible(phone);
  await phone.tap('#emotions label:has([value="anxious"])');
  await phone.fill('#message', 'I worry about tomorrow');
  await phone.tap('#send');
  await answers(phone, 1);
  await phone.waitForFunction(() => /worries you most\.$/.test(document.querySelector('li.counsellor:last-child').textContent));
  assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
  const sizes = await phone.evaluate(() => [...document.querySelectorAll('button:not([hidden]), #emotions span')].map(one => one.getBoundingClientRect().height));
  assert.ok(sizes.every(height => height >= 44), `touch targets: ${sizes}`);
  const form = await phone.locator('#form').boundingBox();
  assert.ok(form.y + form.height <= 640, 'the message box is on the screen');
  await phone.screenshot({ path: join(out, 'phone.png') });
  await phone.tap('#language');
  assert.equal(await phone.textContent('h1'), '마음 상담');
  await phone.locator('#connection[data-state="open"]').waitFor();
  await phone.fill('#message', '내일이 걱정돼요');
  await phone.tap('#send');
  await phone.waitForFunction(() => /나눠 볼까요\?$/.test(document.querySelector('li.counsellor:last-child').textContent));
  await phone.context().close();

  assert.deepEqual(faults, [], 'the console is quiet');
  console.log(`counselling page: all passed; pictures in ${out}`);
} catch (error) {
  console.error(error);
  console.error(server?.log.split('\n').slice(-20).join('\n'));
  process.exitCode = 1;
} finally {
  await browser.close();
  await stop('SIGTERM');
  rmSync(home, { recursive: true, force: true });
}
