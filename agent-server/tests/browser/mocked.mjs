// The dashboard against the mock: responses that the real server cannot produce offline.

import assert from 'node:assert/strict';
import { HOSTILE, mock } from './mock.mjs';
import { accessible, count, entries, picture, send, sessionOf, status, withPage } from './support.mjs';

/** Opens a page with a separate mock. */
async function at(options, work) {
  const { key, pace, sockets, graph, ...context } = options;
  const server = await mock({ key, pace, sockets, graph });
  try {
    await withPage({ locale: 'en-US', ...context }, async (page, browser) => {
      await page.goto(server.base);
      await work(page, server, browser);
    });
  } finally {
    server.end();
  }
}

const answer = page => page.locator('.answer:visible');

async function decide(page, number) {
  await page.locator('.approval').waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press(String(number));
}

export const mocked = {
  async 'tokens are seen while they come, and each call with its arguments and result'() {
    await at({ pace: 20 }, async page => {
      await send(page, '리뷰를 찾아줘');
      // Tokens from before the page connected are not sent again: the only certainty is that the text grows.
      const words = () => page.evaluate(() => document.querySelector('.said.live > .plain')?.textContent.length ?? 0);
      await page.waitForFunction(() => (document.querySelector('.said.live > .plain')?.textContent.length ?? 0) > 0);
      const early = await words();
      await page.waitForFunction(length => (document.querySelector('.said.live > .plain')?.textContent.length ?? 0) > length, early);
      await picture(page, 'tokens-en');
      await page.locator('#chat .call[data-state="running"]', { hasText: '{"brand' }).waitFor();
      await page.locator('.approval').waitFor();
      const call = page.locator('#chat .call', { hasText: 'search_reviews' });
      await count(page, '#chat .call', 1);
      await page.locator('.approval').waitFor();
      await picture(page, 'approval-en');
      await accessible(page, 'approval');
      await call.locator('summary').focus();
      await page.keyboard.press('Enter');
      await call.locator('.json-block').nth(1).waitFor();
      const shown = await call.innerText();
      assert.match(shown, /라네즈/);
      assert.match(shown, /촉촉하고 좋아요 😀/);
      await picture(page, 'call-en');
      await decide(page, 1);
      await status(page, 'completed');
      assert.match(await answer(page).innerText(), /결정: approve/);
      assert.equal(await page.locator('.said', { hasText: '살펴봤습니다' }).count(), 0, 'the answer is not said twice');
      await page.click('#tab-calls');
      assert.equal(await page.locator('#panel-calls .call-time', { hasText: '812' }).innerText(), '1.8K (1K from the cache) → 421 · 812 ms');
      await page.getByRole('button', { name: /^Tools 2/ }).click();
      await count(page, '#panel-calls .call', 2);
      await accessible(page, 'calls');
      await picture(page, 'calls-en');
      await page.reload();
      await page.click('#tab-chat');
      assert.match(await page.locator('#chat .call', { hasText: 'search_reviews' }).innerText(), /라네즈/, 'arguments are known after a reload');
    });
  },

  async 'a call can be edited, rejected with a reason, or answered for'() {
    await at({ pace: 1 }, async page => {
      await send(page, 'edit');
      await decide(page, 2);
      const form = page.locator('.decision textarea');
      await form.fill('{"to": ');
      await page.locator('.decision .primary').click();
      assert.match(await page.innerText('.question .problem:not(:empty)'), /not JSON/);
      assert.equal(await form.getAttribute('aria-invalid'), 'true');
      await form.fill('{"to":"다른@example.com"}');
      await page.locator('.decision .primary').click();
      await status(page, 'completed');
      assert.match(await page.locator('#chat .call', { hasText: 'send_mail' }).innerText(), /다른@example.com/);

      await page.click('#new');
      await send(page, 'reject');
      await decide(page, 3);
      await page.fill('.decision textarea', '보내지 마세요');
      await page.locator('.decision .primary').click();
      await status(page, 'completed');
      assert.match(await page.innerText('.asked'), /Reject: 보내지 마세요/);
      await count(page, '.call[data-state="failed"]', 1);

      await page.click('#new');
      await send(page, 'respond');
      await decide(page, 4);
      await page.fill('.decision textarea', 'sent by hand');
      await page.locator('.decision .primary').click();
      await status(page, 'completed');
      assert.match(await answer(page).innerText(), /respond/);
    });
  },

  async 'a question with a schema is a form, and any JSON value is an answer'() {
    await at({ allowed: [/422/] }, async (page, server) => {
      await send(page, 'form');
      const card = page.locator('.question').first();
      await card.waitFor();
      await card.getByRole('button', { name: 'Answer' }).click();
      // Every faulty field shows its error; the first of them has the focus.
      const at = label => card.locator('.field', { has: page.getByLabel(label) }).locator('.problem');
      assert.match(await at('Name').innerText(), /required/);
      assert.match(await at('kind').innerText(), /choose one/);
      assert.equal(await page.evaluate(() => document.activeElement.labels[0].textContent), 'Name');
      assert.match(await card.locator('.field', { has: page.getByLabel('count') }).innerText(), /1 – 9/);
      await card.getByLabel('Name').fill('김');
      await card.getByRole('button', { name: 'Answer' }).click();
      assert.match(await at('Name').innerText(), /at least 2/);
      await card.getByLabel('Name').fill('거절');
      await card.getByLabel('count').fill('3');
      await card.getByLabel('kind').selectOption('toner');
      await card.getByLabel('tags').fill('선물\n급함');
      await card.getByLabel('Give address').check();
      await card.getByLabel('city').fill('화성');
      await card.getByRole('button', { name: 'Answer' }).click();
      await card.locator('.field .problem', { hasText: 'nobody delivers there' }).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.labels[0].textContent), 'city');
      await accessible(page, 'form');
      await picture(page, 'form-en');
      await card.getByLabel('Name').fill('김유나');
      await card.getByLabel('Give address').uncheck();
      await card.getByRole('button', { name: 'Answer' }).click();
      await count(page, '.question', 1);
      const other = page.locator('.question');
      await other.getByLabel('Your answer').fill('bad');
      await other.getByRole('button', { name: 'Answer' }).click();
      await page.locator('.question .leaf .problem', { hasText: 'is not allowed' }).waitFor();
      await other.getByLabel('as JSON').check();
      await other.getByLabel('Your answer').fill('[null, false, 0, ""]');
      await other.getByRole('button', { name: 'Answer' }).click();
      await status(page, 'completed');
      const [session] = server.sessions.values();
      assert.deepEqual(session.state.said, [{ name: '김유나', count: 3, kind: 'toner', tags: ['선물', '급함'] }, [null, false, 0, '']]);
    });
  },

  async 'hostile text is text, wherever it is shown'() {
    await at({ pace: 1, allowed: [/404/] }, async (page, server) => {
      await send(page, 'hostile');
      await decide(page, 1);
      await status(page, 'completed');
      const head = HOSTILE.slice(0, 60);
      assert.ok((await answer(page).textContent()).includes(head));
      assert.ok((await page.textContent('#todos')).includes(head));
      await page.click('#tab-timeline');
      await page.locator('.entry', { hasText: '<img' }).first().click();
      await page.getByRole('button', { name: 'State here' }).click();
      await page.locator('.json-head', { hasText: 'State at' }).waitFor();
      await page.click('#tab-calls');
      await page.locator('#panel-calls .call').first().waitFor();
      await picture(page, 'hostile-en');
      assert.equal(await page.evaluate(() => window.hacked), undefined);
      assert.equal(await page.locator('#main img, #side img, #main script, a[href^="javascript"]').count(), 0);
      // A name from outside in the address is no more than a name.
      await page.goto(`${server.base}/#/s/${encodeURIComponent(HOSTILE)}`);
      await page.locator('.welcome').waitFor();
      assert.equal(await page.evaluate(() => window.hacked), undefined);
    });
  },

  async 'thousands of events leave the page small and quick'() {
    await at({}, async page => {
      await page.evaluate(() => {
        window.longest = 0;
        new PerformanceObserver(list => list.getEntries().forEach(entry => (window.longest = Math.max(window.longest, entry.duration)))).observe({ type: 'longtask' });
      });
      const begun = Date.now();
      await send(page, 'many 6000');
      await status(page, 'completed');
      const took = Date.now() - begun;
      await page.click('#tab-timeline');
      await page.locator('#row-6003').waitFor();
      const { elements, rows, longest, size } = await page.evaluate(() => ({ elements: document.querySelectorAll('*').length, rows: document.querySelectorAll('.entry').length, longest: window.longest, size: document.querySelector('.entry').getAttribute('aria-setsize') }));
      console.log(`    6,000 entries and 6,000 tokens in ${took} ms, longest task ${Math.round(longest)} ms, ${elements} elements, ${rows} rows`);
      // Entries from before the page connected are loaded in part; later ones completely.
      assert.ok(Number(size) > 2_000, `${size} entries`);
      assert.ok(rows < 120, `${rows} rows`);
      assert.ok(elements < 4_000, `${elements} elements`);
      assert.ok(longest < 1_000, `the page stood still for ${longest} ms`);
      await page.reload();
      await page.locator('#row-6003').waitFor();
      const first = await page.evaluate(() => Number(document.querySelector('#journal .entry').getAttribute('aria-setsize')));
      assert.ok(first < 6_003, 'only the end is loaded');
      await page.getByRole('button', { name: 'Older' }).click();
      await page.waitForFunction(size => Number(document.querySelector('#journal .entry').getAttribute('aria-setsize')) > size, first);
      await picture(page, 'many-en');
    });
  },

  async 'a connection that breaks is mended: each entry once, in order'() {
    await at({ pace: 25, outage: true }, async (page, server) => {
      await send(page, '끊김');
      await page.locator('.said.live').waitFor();
      server.cut();
      await page.locator('#chat .call', { hasText: 'search_reviews' }).waitFor();
      server.cut();
      await decide(page, 1);
      await status(page, 'completed');
      assert.match(await page.locator('.said').first().innerText(), /그다음 정리합니다/, 'the text is whole in the end');
      const { keys } = await entries(page);
      const [session] = server.sessions.values();
      assert.deepEqual(keys, session.journal.map(entry => entry.seq));
    });
  },

  async 'a failed run says why, and void text is gone'() {
    await at({ pace: 1 }, async page => {
      await send(page, 'fail');
      await status(page, 'failed');
      await page.locator('.failure', { hasText: 'the model refused the key' }).waitFor();
      assert.ok(!(await page.innerText('#chat')).includes('half of a sent'));
      await count(page, '.graph [data-node="model"][data-state="failed"]', 1);
      assert.equal(await page.isEnabled('#resume'), true);
      await picture(page, 'failed-en');
    });
  },

  async 'a key is asked for once, kept in the tab, and goes with every request and socket'() {
    await at({ key: 'secret.key-1', pace: 1, allowed: [/401/, /WebSocket/] }, async (page, server, browser) => {
      await page.locator('#key-dialog[open]').waitFor();
      await accessible(page, 'key');
      await picture(page, 'key-en');
      await page.fill('#key-value', '열쇠');
      await page.press('#key-value', 'Enter');
      await page.locator('#key-problem', { hasText: 'ASCII' }).waitFor();
      await page.fill('#key-value', 'wrong');
      await page.press('#key-value', 'Enter');
      await page.locator('#key-problem', { hasText: 'rejected this key' }).waitFor();
      await picture(page, 'key-refused-en');
      await page.fill('#key-value', 'secret.key-1');
      await page.press('#key-value', 'Enter');
      await send(page, 'with a key');
      await decide(page, 1);
      await status(page, 'completed');
      await page.reload();
      await answer(page).waitFor();
      assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('secret')), false);
      const other = await browser.newPage();
      await other.goto(server.base);
      await other.locator('#key-dialog[open]').waitFor();
    });
  },

  async 'many sessions come in pages, and are searched and filtered'() {
    await at({ pace: 0 }, async (page, server) => {
      for (let number = 0; number < 70; number += 1) {
        const session_id = `bulk-${String(number).padStart(3, '0')}`;
        await fetch(`${server.base}/run-async`, { method: 'POST', body: JSON.stringify({ message: number % 10 === 0 ? 'form' : 'fail', session_id }) });
      }
      await page.reload();
      await count(page, '#session-list li', 50);
      await page.click('#session-more');
      await count(page, '#session-list li', 70);
      await picture(page, 'sessions-en');
      await page.fill('#search', 'bulk-03');
      await count(page, '#session-list li', 10);
      await page.fill('#search', '');
      assert.match(await page.locator('#session-list li').first().innerText(), /^fail\n/, 'a session is called by its first message');
      await page.selectOption('#filter', 'paused');
      await count(page, '#session-list li[data-status="paused"]', 7);
      await count(page, '#session-list li', 7);
      await accessible(page, 'sessions');
    });
  },

  async 'a range that is no longer kept is shown as a gap'() {
    await at({ pace: 1 }, async (page, server) => {
      await send(page, 'fail');
      await status(page, 'failed');
      const session = server.sessions.get(await sessionOf(page));
      const gap = { after: session.journal.length, upto: session.journal.length + 40 };
      for (const socket of session.sockets) {
        socket.send(JSON.stringify({ type: 'error', data: { error: 'messages are no longer kept', details: { code: 'gap', ...gap } }, timestamp: new Date().toISOString() }));
      }
      await page.click('#tab-timeline');
      await page.locator('.entry[data-type="gap"]', { hasText: `Entries ${gap.after + 1} to ${gap.upto}` }).waitFor();
    });
  },

  async 'a question of each kind of schema is asked so that nothing is answered by chance'() {
    await at({ pace: 1 }, async (page, server) => {
      await send(page, 'kinds');
      await count(page, '.question', 8);
      const card = key => page.locator(`.question[data-question$=":${key}"]`);
      const answers = async key => {
        await card(key).getByRole('button', { name: 'Answer', exact: true }).click();
        return card(key).locator('.problem:not(:empty)').first();
      };
      await accessible(page, 'kinds');
      await picture(page, 'kinds-en');
      for (const key of ['number', 'text', 'some', 'rows', 'either']) await (await answers(key)).waitFor();
      await card('number').getByRole('spinbutton').fill('12');
      assert.match(await (await answers('number')).innerText(), /at most 9\.5/);
      assert.match(await card('number').innerText(), /How much · 0\.5 – 9\.5/);
      await picture(page, 'kinds-refused-en');
      assert.equal(server.sessions.get(await sessionOf(page)).questions.size, 8, 'nothing was sent');
      await card('number').getByRole('spinbutton').fill('2.5');
      await card('text').getByLabel('Your name').fill('유나');
      await card('some').getByLabel('b').check();
      await card('rows').getByLabel('sku').fill('LN-1');
      await card('rows').getByRole('button', { name: 'Add an entry' }).click();
      await card('rows').getByLabel('sku').nth(1).fill('LN-2');
      await card('rows').getByLabel('count').nth(1).fill('3');
      await card('either').getByLabel('Kind of answer').selectOption('Transfer');
      await card('either').getByLabel('iban').fill('KR12');
      for (const key of ['number', 'text', 'some', 'rows', 'either', 'maybe']) {
        await card(key).getByRole('button', { name: 'Answer', exact: true }).click();
        await card(key).waitFor({ state: 'detached' });
      }
      await card('flag').getByRole('button', { name: 'no' }).click();
      await card('choice').getByRole('button', { name: 'null' }).click();
      await status(page, 'completed');
      const { state } = server.sessions.get(await sessionOf(page));
      assert.deepEqual(state.said, [false, null, 2.5, '유나', null, ['b'], [{ sku: 'LN-1' }, { sku: 'LN-2', count: 3 }], { kind: 'transfer', iban: 'KR12' }]);
    });
  },

  async 'where no socket gets through, the journal is asked instead'() {
    await at({ pace: 1, sockets: false, outage: true, allowed: [/404/] }, async page => {
      await send(page, '소켓 없이');
      await decide(page, 1);
      await status(page, 'completed');
      assert.match(await answer(page).innerText(), /결정: approve/);
      assert.match(await page.locator('#chat .call', { hasText: 'search_reviews' }).innerText(), /라네즈/);
      await page.locator('#link[data-link="polling"]').waitFor();
      await picture(page, 'no-socket-en');
    });
  },

  async 'what has the focus keeps it while the list of sessions moves'() {
    await at({ pace: 0 }, async (page, server) => {
      const run = session_id => fetch(`${server.base}/run-async`, { method: 'POST', body: JSON.stringify({ message: 'fail', session_id }) });
      for (let number = 0; number < 30; number += 1) await run(`row-${number}`);
      await page.reload();
      await count(page, '#session-list li', 30);
      const link = page.locator('#session-list a[href="#/s/row-3"]');
      await link.focus();
      await run('row-3');
      await page.waitForFunction(() => document.querySelector('#session-list li')?.dataset.key === 'row-3');
      assert.equal(await page.evaluate(() => document.activeElement.getAttribute('href')), '#/s/row-3');
    });
  },

  async 'the first of thousands of entries is one key away, and any two can be compared'() {
    await at({ pace: 0 }, async page => {
      await send(page, 'many 3000');
      await status(page, 'completed');
      await page.click('#tab-timeline');
      await page.reload();
      await page.locator('#row-3003').waitFor();
      await page.focus('#journal');
      await page.keyboard.press('Home');
      await page.locator('#row-1[aria-selected="true"]').waitFor();
      await page.reload();
      await page.locator('#row-3003').click();
      await page.keyboard.press('d');
      await page.getByLabel('from', { exact: true }).fill('20');
      await page.getByLabel('to', { exact: true }).fill('40');
      await page.keyboard.press('Enter');
      await page.locator('#row-40[aria-selected="true"]').waitFor();
      await page.locator('.change .path', { hasText: '/at' }).waitFor();
    });
  },

  async 'a graph of sixty nodes can be read, and be seen as a whole'() {
    const lanes = [0, 1, 2, 3, 4, 5, 6, 7];
    const name = (lane, step) => `lane ${lane} step ${step}`;
    const steps = [0, 1, 2, 3, 4, 5, 6];
    const graph = {
      name: 'wide',
      nodes: [{ id: 'start', kind: 'start' }, { id: 'model' }, ...lanes.flatMap(lane => steps.map(step => ({ id: name(lane, step) }))), { id: 'merge', kind: 'join' }, { id: 'end', kind: 'end' }],
      edges: [{ from: 'start', to: 'model', kind: 'edge' }, ...lanes.flatMap(lane => [{ from: 'model', to: name(lane, 0), kind: 'edge' }, ...steps.slice(1).map(step => ({ from: name(lane, step - 1), to: name(lane, step), kind: 'edge' })), { from: name(lane, 6), to: 'merge', kind: 'join' }]), { from: 'merge', to: 'end', kind: 'edge' }],
    };
    await at({ pace: 1, graph }, async page => {
      assert.equal(await page.isDisabled('#enlarge'), true, 'there is no graph yet');
      await send(page, 'fail');
      await status(page, 'failed');
      await page.locator('.graph').waitFor();
      const tall = () => page.evaluate(() => document.querySelector('.graph [data-node="lane 0 step 0"] rect').getBoundingClientRect().height);
      assert.ok(await tall() >= 19, `a node is ${await tall()} pixels tall`);
      await picture(page, 'wide-en');
      await page.click('#enlarge');
      await page.locator('#graph-dialog[open] .graph').waitFor();
      const [seen, all] = await page.evaluate(() => {
        const box = document.querySelector('#graph-dialog .graph-box');
        return [[box.clientWidth, box.clientHeight], [box.scrollWidth, box.scrollHeight]];
      });
      assert.deepEqual(all, seen, 'nothing has to be scrolled to');
      await accessible(page, 'large graph');
      await picture(page, 'wide-large-en');
      await page.keyboard.press('Escape');
      await page.locator('#side .graph').waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.id), 'enlarge');
    });
  },

  async 'a graph says how many a join waits for, where it runs as dataflow, where a subgraph is left for, and where it breaks'() {
    const graph = {
      name: 'detailed',
      dataflow: true,
      nodes: [{ id: 'start', kind: 'start' }, { id: 'model', label: 'model', kind: 'node' }, { id: 'search', label: 'search', kind: 'subgraph', dataflow: true }, { id: 'search/start', label: 'start', kind: 'start', parent: 'search' }, { id: 'search/check', label: 'check', kind: 'node', parent: 'search' }, { id: 'search/end', label: 'end', kind: 'end', parent: 'search' }, { id: 'rescue', label: 'rescue', kind: 'node' }, { id: 'answer', label: 'answer', kind: 'join' }, { id: 'end', kind: 'end' }],
      edges: [{ from: 'start', to: 'model', kind: 'edge' }, { from: 'start', to: 'search', kind: 'edge' }, { from: 'search/start', to: 'search/check', kind: 'edge' }, { from: 'search/check', to: 'search/end', kind: 'goto', parent_targets: ['rescue', '__end__'] }, { from: 'search', to: 'rescue', kind: 'goto' }, ...['model', 'search', 'rescue'].map(from => ({ from, to: 'answer', kind: 'join', quorum: { need: 2, of: 3 } })), { from: 'answer', to: 'end', kind: 'edge' }],
    };
    await at({ pace: 1, graph }, async page => {
      await send(page, 'fail at a breakpoint');
      await status(page, 'failed');
      await page.locator('.graph').waitFor();
      const text = selector => page.locator(selector).evaluate(element => element.textContent);
      assert.equal(await text('.graph [data-node="answer"] .note'), 'first 2 of 3');
      assert.equal(await text('.graph [data-node="search"] > .note'), 'dataflow');
      assert.equal(await page.locator('.graph-note').innerText(), 'Dataflow: a branch does not wait for slower ones.');
      assert.equal(await text('.graph .way-label'), '↑ rescue, end');
      const titles = await page.locator('.graph .way title').evaluateAll(all => all.map(one => one.textContent));
      assert.equal(titles.filter(title => title.endsWith('(join, first 2 of 3)')).length, 3, titles.join('\n'));
      assert.ok(titles.includes('search/check → search/end (goto, then in the outer graph: rescue, end)'), titles.join('\n'));
      assert.equal(await page.locator('.graph .pause.before:visible').count(), 1);
      assert.equal(await page.locator('.graph .pause.after:visible').count(), 2);
      await count(page, '.graph [data-node="model"][data-break="before after"]', 1);
      await page.getByRole('img', { name: /Breakpoints: model \(breakpoint before it, breakpoint after it\), answer/ }).waitFor();
      const covers = await page.evaluate(() => {
        const [note, label, box] = ['.note', '.label', 'rect'].map(part => document.querySelector(`.graph [data-node="answer"] ${part}`).getBoundingClientRect());
        return [label.bottom - note.top, note.bottom - box.bottom, note.right - box.right];
      });
      assert.ok(covers[0] < 4 && covers[1] < 0 && covers[2] < 0, `the lines fit into the box: ${covers}`);
      await accessible(page, 'detailed graph');
      await picture(page, 'detailed-graph-en');
    });
  },

  async 'an agent in the background is a link from the session that started it, and back'() {
    await at({ pace: 1 }, async (page, server) => {
      await send(page, 'fail');
      await status(page, 'failed');
      const id = await sessionOf(page);
      await fetch(`${server.base}/run-async`, { method: 'POST', body: JSON.stringify({ session_id: 'child', message: 'fail' }) });
      Object.assign(server.sessions.get('child'), { startedBy: id, scheduledBy: 'every-morning' });
      await page.locator('#background a', { hasText: 'child' }).click();
      await page.locator('#background', { hasText: 'every-morning' }).waitFor();
      await accessible(page, 'background');
      await picture(page, 'background-en');
      await page.locator('#background a', { hasText: id }).click();
      await page.locator('#background a', { hasText: 'child' }).waitFor();
    });
  },

  async 'on a telephone there is room to write, and the list goes when one taps beside it'() {
    await at({ pace: 1, viewport: { width: 390, height: 844 } }, async page => {
      await send(page, 'form');
      await page.locator('.question').first().waitFor();
      await page.locator('#busy:visible').waitFor();
      const wide = await page.evaluate(() => document.getElementById('message').clientWidth);
      assert.ok(wide > 280, `the message box is ${wide} pixels wide`);
      await picture(page, 'phone-form-en');
      await page.click('#menu');
      await page.locator('#sessions:visible').waitFor();
      await picture(page, 'phone-menu-en');
      await page.mouse.click(370, 500);
      await page.locator('#sessions').waitFor({ state: 'hidden' });
      assert.equal(await page.getAttribute('#menu', 'aria-expanded'), 'false');
      await page.click('#menu');
      await page.focus('#search');
      await page.keyboard.press('Escape');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'menu');
    });
  },

  async 'the key for the question leads to its first choice'() {
    await at({ pace: 1 }, async page => {
      await send(page, 'mail');
      await page.locator('.approval').waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('q');
      await page.locator('.approval .option:focus', { hasText: 'Approve' }).waitFor();
      await page.keyboard.press('2');
      await page.locator('.decision textarea:focus').waitFor();
      assert.equal(await page.getAttribute('.approval .option:nth-child(2)', 'aria-expanded'), 'true');
      await page.locator('.decision .primary').waitFor();
      const shown = await page.evaluate(() => document.querySelector('.decision .primary').getBoundingClientRect().bottom <= document.getElementById('panel-chat').getBoundingClientRect().bottom);
      assert.ok(shown, 'the button that sends it is in sight');
    });
  },

  async 'a session that somebody else deleted is said to be gone'() {
    await at({ pace: 1, allowed: [/404/] }, async (page, server) => {
      await send(page, 'fail');
      await status(page, 'failed');
      const id = await sessionOf(page);
      await page.waitForResponse(answer => answer.url().includes('/sessions?') && answer.ok());
      await fetch(`${server.base}/sessions/${id}`, { method: 'DELETE' });
      await page.locator('.welcome', { hasText: 'not on the server' }).waitFor();
      assert.equal(await page.isDisabled('#fork'), true);
      await count(page, `#session-list li[data-key="${id}"]`, 0);
    });
  },
};
