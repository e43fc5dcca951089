// The API pages: they render in Chromium, and send requests only to their own server.

import assert from 'node:assert/strict';
import { picture, withPage } from './support.mjs';

/** Opens a page and returns every address that was requested. */
async function opened(server, path, work) {
  const asked = [];
  await withPage({}, async page => {
    page.on('request', request => asked.push(request.url()));
    await page.goto(server.base + path, { waitUntil: 'load' });
    await work(page);
  });
  const foreign = asked.filter(url => !url.startsWith(server.base) && !/^(data|blob):/.test(url));
  assert.deepEqual(foreign, [], `${path} asks only its own server`);
}

export const docs = {
  async 'docs: Swagger UI shows every path and tries one'({ server }) {
    await opened(server, '/docs', async page => {
      await page.locator('.opblock-summary-path', { hasText: '/run-async' }).first().waitFor();
      const { paths } = await (await fetch(`${server.base}/openapi.json`)).json();
      const wanted = Object.values(paths).reduce((sum, item) => sum + Object.keys(item).length, 0);
      assert.equal(await page.locator('.opblock').count(), wanted);
      await page.locator('#operations-operations-health .opblock-summary-control').click();
      await page.locator('#operations-operations-health button.execute').click();
      await page.locator('#operations-operations-health .live-responses-table', { hasText: 'healthy' }).waitFor();
      await picture(page, 'docs-swagger');
    });
  },
  async 'docs: Redoc shows every path'({ server }) {
    await opened(server, '/redoc', async page => {
      await page.locator('h2', { hasText: 'Start a run without waiting for it' }).first().waitFor();
      await page.locator('text=한국어를 비롯한').first().waitFor();
      await picture(page, 'docs-redoc');
    });
  },
  async 'docs: the pages of the socket and of the codes'({ server }) {
    await opened(server, '/docs/websocket', async page => {
      await page.locator('h3', { hasText: 'hitl_request' }).waitFor();
      await picture(page, 'docs-websocket');
    });
    await opened(server, '/docs/errors', async page => {
      await page.click('a[href="/docs/errors/session_busy"]');
      await page.locator('h2', { hasText: 'What to do' }).waitFor();
      await picture(page, 'docs-error');
    });
  },
};
