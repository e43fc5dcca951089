// Drives the dashboard in Chromium: `node drive.mjs BINARY`. Pictures go to $BROWSER_OUT; ONLY=words runs some.

import { docs } from './docs.mjs';
import { mocked } from './mocked.mjs';
import { origin } from './origin.mjs';
import { sdk } from './sdk.mjs';
import { real } from './real.mjs';
import { Server, out, run } from './support.mjs';

const server = new Server(process.argv[2]);
try {
  await run(mocked, {});
  await server.start();
  await run(real, { server });
  await run(docs, { server });
  await run(origin, { server });
  await run(sdk, { server });
  console.log(`browser: all passed; pictures in ${out}`);
} catch (error) {
  console.error(error);
  if (server.log) console.error(`--- log of the server\n${server.log.split('\n').slice(-30).join('\n')}`);
  process.exitCode = 1;
} finally {
  await server.end();
}
