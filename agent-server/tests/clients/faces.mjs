// Drives the chats of agent-server with npm `eventsource` and `openai`. Usage: node faces.mjs BASE UPSTREAM
import assert from "node:assert/strict";
import { EventSource } from "eventsource";
import OpenAI from "openai";

const [base, upstream] = process.argv.slice(2);
const SAID = "안녕하세요 🌸, 저는 가짜 모델입니다 👩‍👩‍👧.";
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const state = async () => (await fetch(upstream)).json();
const until = async (holds) => {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return;
    await new Promise((go) => setTimeout(go, 50));
  }
  assert.fail("it did not come to that");
};
let passed = 0;
const check = async (name, run) => {
  try {
    await run();
    passed++;
  } catch (error) {
    console.error(`FAILED ${name}`);
    throw error;
  }
};

await check("an EventSource gets every chunk, and does not ask again after the end", async () => {
  const { calls } = await state();
  const url = `${base}/api/chat/stream?message=${encodeURIComponent("안녕")}&history=${encodeURIComponent("[]")}`;
  const source = new EventSource(url);
  let said = "";
  await new Promise((done, failed) => {
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.done) return done();
      event.error ? failed(new Error(event.error)) : (said += event.chunk);
    };
  });
  assert.equal(said, SAID);
  // Left open: it reconnects, gets the answer that the stream has ended, and closes for good.
  await until(() => source.readyState === EventSource.CLOSED);
  assert.equal((await state()).calls, calls + 1);
});

await check("an EventSource that is closed ends the call of the model", async () => {
  const { gone } = await state();
  const source = new EventSource(`${base}/api/chat/stream?message=${encodeURIComponent("[hang]")}`);
  await new Promise((done) => (source.onmessage = done));
  source.close();
  await until(async () => (await state()).gone > gone);
});

const ask = (content, more = {}) =>
  client.chat.completions.create({ model: "chat", messages: [{ role: "user", content }], ...more });

await check("whole and streamed", async () => {
  const whole = await ask("안녕");
  assert.equal(whole.choices[0].message.content, SAID);
  assert.equal(whole.usage.total_tokens, 18);
  let said = "";
  let finish;
  for await (const chunk of await ask("안녕", { stream: true })) {
    said += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  assert.deepEqual([said, finish], [SAID, "stop"]);
});

await check("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("chat") && ids.includes("assistant") && ids.includes("trend"), ids.join());
});

await check("errors have their types", async () => {
  await assert.rejects(ask("x", { model: "gpt-5" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.deepEqual([error.code, error.param, error.type], ["model_not_found", "model", "invalid_request_error"]);
    return true;
  });
  await assert.rejects(ask("x", { temperature: 3 }), OpenAI.BadRequestError);
  await assert.rejects(ask("[refuse 429]"), OpenAI.RateLimitError);
  await assert.rejects(ask("[refuse 401]", { stream: true }), OpenAI.InternalServerError);
  await assert.rejects(async () => {
    for await (const _ of await ask("[break]", { stream: true }));
  }, OpenAI.APIError);
});

await check("an aborted stream ends the call of the model", async () => {
  const { gone } = await state();
  const stream = await ask("[hang]", { stream: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  await until(async () => (await state()).gone > gone);
});
console.log(`faces.mjs: ${passed} checks`);
process.exit(0);
