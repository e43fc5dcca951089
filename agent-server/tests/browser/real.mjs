// The dashboard against the real server, used as a person uses the K-beauty agent.

import assert from 'node:assert/strict';
import { Server, accessible, count, entries, picture, send, sessionOf, status, withPage } from './support.mjs';

const QUESTION = '.question .option';
const KOREAN = '라네즈와 이니스프리 리뷰를 비교해줘';

/** The timeline shows the whole journal of the server, in order, without duplicates. */
async function sameJournal(page, server) {
  const id = await sessionOf(page);
  const told = (await server.journal(id)).map(entry => entry.seq);
  await page.waitForFunction(last => document.querySelector('#journal .entry:last-child')?.dataset.key === String(last) || document.getElementById('panel-timeline').hidden, told.at(-1));
  const { keys, size } = await entries(page);
  assert.deepEqual(keys, told);
  assert.equal(size, told.length);
}

export const real = {
  async 'a Korean chat goes through its question to the report, live'({ server }) {
    await withPage({ locale: 'ko-KR' }, async page => {
      await page.goto(server.base);
      assert.equal(await page.getAttribute('html', 'lang'), 'ko');
      await accessible(page, 'welcome');
      await picture(page, 'welcome-ko');
      await send(page, KOREAN);
      await page.locator('.graph [data-node="study/analyse"][data-state="running"]').waitFor();
      await page.locator('.todo[data-state="in_progress"]').first().waitFor();
      await picture(page, 'running-ko');
      await page.locator(QUESTION).first().waitFor();
      await status(page, 'paused');
      await page.locator('.graph [data-node="audience"][data-state="waiting"]').waitFor();
      await accessible(page, 'question');
      await picture(page, 'question-ko');
      await page.getByRole('button', { name: '마케터' }).click();
      await status(page, 'completed');
      await page.locator('.answer:visible').waitFor();
      assert.match(await page.innerText('.answer'), /라네즈.*보고서/s);
      assert.match(await page.innerText('.asked'), /마케터/);
      assert.equal(await page.locator('.bubble').innerText(), KOREAN);
      await count(page, '.todo:not([data-state="completed"])', 0);
      assert.match(await page.locator('#session-list [aria-current]').innerText(), /완료/);
      await accessible(page, 'report');
      await picture(page, 'report-ko');
      await sameJournal(page, server);
    });
  },

  async 'schedules are made, seen and deleted, and a timer can be ended'({ server }) {
    for (const [locale, words] of [['ko-KR', { open: '예약', create: '만들기', remove: '예약 삭제', timer: '타이머', now: '지금 계속하기' }], ['en-US', { open: 'Schedules', create: 'Create', remove: 'Delete the schedule', timer: 'Timer', now: 'Continue now' }]]) {
      await withPage({ locale, allowed: [/400.*schedules/] }, async page => {
        const at = new Date(Date.now() + 400).toISOString();
        await server.post('/schedules', { schedule_id: `once-${locale}`, run_at: at, message: '라네즈 리뷰를 분석해줘', context: { audience: 'buyers' } });
        await page.goto(server.base);
        await page.getByRole('button', { name: words.open }).click();
        const dialog = page.locator('#schedules-dialog[open]');
        await dialog.waitFor();
        await dialog.locator('#schedule-message').fill('이니스프리 리뷰를 분석해줘 🌸');
        await dialog.locator('#schedule-cron').fill('99 * * * *');
        await dialog.getByRole('button', { name: words.create }).click();
        await dialog.locator('form .problem:not(:empty)').waitFor();
        await dialog.locator('#schedule-cron').fill('0 9 * * MON-FRI');
        await dialog.getByRole('button', { name: words.create }).click();
        const made = dialog.locator('.schedule').filter({ hasText: '0 9 * * MON-FRI' });
        await made.waitFor();
        assert.match(await made.innerText(), /이니스프리 리뷰를 분석해줘 🌸[\s\S]*Asia\/Seoul/);
        await accessible(page, 'schedules');
        await picture(page, `schedules-${locale.slice(0, 2)}`);
        const id = await made.getAttribute('data-schedule');
        await dialog.locator(`.schedule[data-schedule="once-${locale}"] a`).waitFor();
        await page.keyboard.press('Escape');
        await page.goto(`${server.base}/#/s/schedule-${id}`);
        const card = page.locator('.question');
        await card.waitFor();
        assert.match(await card.innerText(), new RegExp(words.timer));
        await accessible(page, 'timer');
        await picture(page, `timer-${locale.slice(0, 2)}`);
        await card.getByRole('button', { name: words.now }).click();
        await page.getByRole('button', { name: words.open }).click();
        await made.locator('a').waitFor();
        await made.getByRole('button', { name: words.remove }).click();
        await made.waitFor({ state: 'detached' });
      });
    }
  },

  async 'a message can be given to the agent at work'({ server }) {
    await withPage({ locale: 'ko-KR', allowed: [/409.*steer/] }, async page => {
      await page.goto(server.base);
      await send(page, KOREAN);
      await page.locator(QUESTION).first().waitFor();
      await page.selectOption('#busy', { label: '지금 일하는 에이전트에게' });
      await accessible(page, 'steering');
      await picture(page, 'steering-ko');
      // The graph of the demo is no agent: the refusal is shown, and the text is kept.
      await send(page, '짧게 써줘');
      await page.locator('#alerts :text("steer")').waitFor();
      assert.equal(await page.inputValue('#message'), '짧게 써줘');
    });
  },

  async 'everything can be done without a mouse'({ server }) {
    await withPage({ locale: 'en-US' }, async page => {
      const key = name => page.keyboard.press(name);
      await server.session();
      await page.goto(server.base);
      await page.locator('#session-list a').first().waitFor();
      await key('?');
      await page.locator('#help-dialog[open]').waitFor();
      await accessible(page, 'shortcuts');
      await picture(page, 'shortcuts-en');
      await key('Enter');
      await page.locator('#help-dialog[open]').waitFor({ state: 'hidden' });
      await key('n');
      await page.waitForFunction(() => document.activeElement.id === 'message');
      await page.keyboard.type('What do people say about the Laneige sleeping mask?');
      await key('Enter');
      await page.locator(QUESTION).first().waitFor();
      await key('Escape');
      await key('q');
      await page.waitForFunction(() => document.activeElement.matches('.question .option'));
      const chosen = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(chosen, 'none', 'the focus can be seen');
      await key('Tab');
      await key('Enter');
      await status(page, 'completed');
      await key('Escape');
      await key('v');
      await page.waitForFunction(() => document.activeElement.id === 'journal');
      await page.locator('.entry').first().waitFor();
      await key('End');
      await key('ArrowUp');
      const before = await page.getAttribute('#journal', 'aria-activedescendant');
      await key('ArrowUp');
      assert.notEqual(await page.getAttribute('#journal', 'aria-activedescendant'), before);
      await key('c');
      await page.locator('#panel-chat:visible').waitFor();
      const here = await sessionOf(page);
      await key('j');
      await page.waitForFunction(id => !location.hash.includes(id), here);
      await key('/');
      await page.waitForFunction(() => document.activeElement.id === 'search');
      await page.keyboard.type(here);
      await count(page, '#session-list li', 1);
    });
  },

  async 'the state at any place, the difference of two places, and a fork from one'({ server }) {
    await withPage({ locale: 'en-US' }, async page => {
      await page.goto(server.base);
      await send(page, KOREAN);
      await page.locator(QUESTION).first().click();
      await status(page, 'completed');
      const id = await sessionOf(page);
      const journal = await server.journal(id);
      const commits = journal.filter(entry => entry.type === 'superstep_committed' && !entry.task);
      const [first, last] = [commits[0].seq, commits.at(-1).seq];
      await page.click('#tab-timeline');
      await page.locator('.entry').first().waitFor();
      const go = async seq => {
        await page.focus('#journal');
        await page.keyboard.press('Home');
        for (let at = journal.findIndex(entry => entry.seq === seq); at > 0; at -= 1) await page.keyboard.press('ArrowDown');
        await page.locator(`#row-${seq}[aria-selected="true"]`).waitFor();
      };
      await go(first);
      await page.getByRole('button', { name: 'State here' }).click();
      await page.locator('.inspect-body .json-head', { hasText: `State at #${first}` }).waitFor();
      const { body } = await server.get(`/sessions/${id}/state?at=${first}`);
      assert.ok((await page.innerText('.inspect-body')).includes(body.state.message));
      await accessible(page, 'state');
      await picture(page, 'state-en');
      await page.keyboard.press('b');
      await go(last);
      await page.keyboard.press('d');
      const { body: { changes } } = await server.get(`/sessions/${id}/diff?from=${first}&to=${last}`);
      assert.ok(changes.length > 0);
      await page.locator('.change').nth(changes.length - 1).waitFor();
      assert.equal(await page.locator('.change').count(), changes.length);
      assert.deepEqual(await page.locator('.change .path').allInnerTexts(), changes.map(change => change.path));
      await accessible(page, 'diff');
      await picture(page, 'diff-en');
      // At an earlier state: fields without a value yet are null, and are shown as null.
      await page.getByLabel('from', { exact: true }).fill(String(last));
      await page.getByLabel('to', { exact: true }).fill(String(first));
      await page.keyboard.press('Enter');
      await page.locator(`#row-${first}[aria-selected="true"]`).waitFor();
      await page.locator('.change', { has: page.locator('.path', { hasText: /^\/audience$/ }) }).locator('.new .v-null').waitFor();
      await page.keyboard.press('b');
      await go(first);
      await page.click('#fork-here');
      await page.waitForFunction(old => !location.hash.includes(old) && location.hash.startsWith('#/s/'), id);
      const fork = await sessionOf(page);
      await status(page, 'stopped');
      await page.click('#resume');
      await page.locator(QUESTION).nth(1).click();
      await status(page, 'completed');
      assert.equal((await server.get(`/sessions/${fork}`)).body.status, 'completed');
      assert.equal((await server.get(`/sessions/${id}`)).body.data.last_seq, journal.at(-1).seq, 'the origin is as it was');
      await picture(page, 'fork-en');
    });
  },

  async 'a reload in the middle of a run loses nothing'({ server }) {
    await withPage({ locale: 'en-US' }, async page => {
      await page.goto(server.base);
      await send(page, KOREAN);
      await page.locator('.graph [data-state="running"]').first().waitFor();
      await page.reload();
      await page.locator('.bubble', { hasText: KOREAN }).waitFor();
      await page.locator(QUESTION).first().waitFor();
      await page.reload();
      await page.locator(QUESTION).first().click();
      await status(page, 'completed');
      await page.reload();
      await page.locator('.answer:visible').waitFor();
      assert.equal(await page.locator('.turn').count(), 1);
      await sameJournal(page, server);
    });
  },

  async 'a run can be stopped, resumed, and its session deleted'({ server }) {
    await withPage({ locale: 'en-US', allowed: [/409/] }, async page => {
      await page.goto(server.base);
      await send(page, KOREAN);
      await page.locator('.graph [data-state="running"]').first().waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('s');
      await status(page, 'stopped');
      await picture(page, 'stopped-en');
      await page.keyboard.press('r');
      await page.locator(QUESTION).first().waitFor();
      await page.selectOption('#busy', 'reject');
      await send(page, 'and now something else');
      const alert = page.locator('#alerts .notice');
      await alert.waitFor();
      assert.match(await alert.innerText(), /which is paused; wait for it, stop it/);
      assert.equal(await page.inputValue('#message'), 'and now something else', 'what was written is not lost');
      await page.locator(QUESTION).first().click();
      await status(page, 'completed');
      await sameJournal(page, server);
      const id = await sessionOf(page);
      await page.click('#delete');
      await accessible(page, 'are you sure');
      await page.click('#sure-yes');
      await page.waitForFunction(() => location.hash === '#/new');
      assert.equal((await server.get(`/sessions/${id}`)).status, 404);
      assert.equal(await page.locator(`#session-list a[href="#/s/${id}"]`).count(), 0);
    });
  },

  async 'a server that is killed and comes back is found again, and the run goes on'({ server }) {
    await withPage({ locale: 'en-US', outage: true }, async page => {
      await page.goto(server.base);
      await send(page, KOREAN);
      await page.locator('.graph [data-state="running"]').first().waitFor();
      await server.kill('SIGKILL');
      await page.locator('#link[data-link="lost"]').waitFor();
      await picture(page, 'disconnected-en');
      await server.start();
      await page.locator('#link[data-link="open"]').waitFor();
      await page.locator(QUESTION).first().click();
      await status(page, 'completed');
      await page.locator('.answer:visible').waitFor();
      await sameJournal(page, server);
    });
  },

  async 'two people with keys of their own see their own sessions'({ server: { binary } }) {
    const server = new Server(binary);
    const keys = { yuna: 'yuna-0123456789abcdef', minho: 'minho-0123456789abcdef' };
    try {
      try {
        await server.start({ settings: { API_KEYS: Object.entries(keys).map(([name, key]) => `${name}:${key}`).join(',') } });
      } catch (error) {
        // A binary that does not support a setting refuses to start and names the setting; everything else is a failure.
        assert.match(error.message, /does not know how to keep API_KEYS/);
        console.log('    not tried: this binary does not heed API_KEYS yet');
        return;
      }
      await withPage({ locale: 'en-US', allowed: [/401/] }, async (page, browser) => {
        const enter = async (who, key) => {
          await who.goto(server.base);
          await who.locator('#key-dialog[open]').waitFor();
          await who.fill('#key-value', key);
          await who.press('#key-value', 'Enter');
          await who.locator('#link[data-link="open"]').waitFor();
        };
        await enter(page, keys.yuna);
        await send(page, KOREAN);
        await page.locator(QUESTION).first().click();
        await status(page, 'completed');
        const id = await sessionOf(page);
        const other = await browser.newPage();
        await enter(other, keys.minho);
        await other.locator('#session-note:not([hidden])').waitFor();
        await count(other, '#session-list li', 0);
        await page.reload();
        await page.locator('.answer:visible').waitFor();
        assert.equal(await sessionOf(page), id);
      });
    } finally {
      await server.end();
    }
  },

  async 'light and dark, English and Korean, by the machine and by the switch'({ server }) {
    await withPage({ locale: 'en-US', colorScheme: 'dark' }, async page => {
      const light = () => page.evaluate(() => {
        const [, red] = /(\d+)/.exec(getComputedStyle(document.body).backgroundColor);
        return Number(red) > 128;
      });
      await server.session();
      await page.goto(server.base);
      await page.locator('#session-list a').first().click();
      await page.locator('.turn').first().waitFor();
      assert.equal(await light(), false);
      await accessible(page, 'dark');
      await picture(page, 'dark-en');
      await page.click('#theme');
      assert.equal(await light(), true);
      await page.click('#lang');
      assert.equal(await page.innerText('#tab-chat'), '대화');
      await page.reload();
      assert.equal(await light(), true);
      assert.equal(await page.innerText('#tab-chat'), '대화');
      await page.emulateMedia({ colorScheme: 'light' });
      await page.click('#theme');
      assert.equal(await light(), false);
      await page.click('#tab-timeline');
      await page.locator('.entry').first().click();
      await accessible(page, 'dark timeline');
      await picture(page, 'dark-timeline-ko');
    });
  },

  async 'a narrow window has everything too'({ server }) {
    await withPage({ locale: 'en-US', viewport: { width: 400, height: 780 } }, async page => {
      await server.session();
      await page.goto(server.base);
      await page.click('#menu');
      await page.locator('#session-list a').first().click();
      await page.locator('.turn').first().waitFor();
      await picture(page, 'narrow-chat');
      await page.click('#tab-plan');
      await page.locator('.graph').waitFor();
      await picture(page, 'narrow-plan');
      await page.click('#tab-timeline');
      await page.locator('.entry').first().click();
      await accessible(page, 'narrow');
      await picture(page, 'narrow-timeline');
      const wider = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wider, false, 'nothing is wider than the window');
    });
  },
};
