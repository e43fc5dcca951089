// Drives agent-server with the AI SDK's chat (`ai`, under `useChat`). Usage: node ui.mjs BASE
import assert from "node:assert/strict";
import { DefaultChatTransport, readUIMessageStream } from "ai";

const [base] = process.argv.slice(2);
const SAID = "안녕하세요 🌸, 저는 가짜 모델입니다 👩‍👩‍👧.";
const transport = new DefaultChatTransport({ api: `${base}/api/chat/ui` });
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
let ids = 0;
const chat = () => `ui-${process.pid}-${ids++}`;
const says = (text) => ({ id: `u${ids++}`, role: "user", parts: [{ type: "text", text }] });
const send = (chatId, messages, more = {}) =>
  transport.sendMessages({ chatId, messages, trigger: "submit-message", messageId: undefined, ...more });
const read = async (stream, options = {}) => {
  let message;
  for await (message of readUIMessageStream({ stream, ...options }));
  return message;
};
const text = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

await check("text arrives, and the session remembers it", async () => {
  const id = chat();
  const first = says("안녕");
  const answer = await read(await send(id, [first]));
  assert.equal(text(answer), SAID);
  assert.equal(answer.metadata.finishReason, "stop");
  const echo = await read(await send(id, [first, answer, says("[echo]")]));
  assert.ok(text(echo).includes("user: 안녕 | assistant: 안녕하세요"), text(echo));
  assert.notEqual(answer.id, echo.id);
});

await check("a tool call is a part with input and output", async () => {
  const answer = await read(await send(chat(), [says("6*7")]));
  const tool = answer.parts.find((part) => part.type === "dynamic-tool");
  assert.deepEqual(
    [tool.toolName, tool.state, tool.input, tool.output],
    ["calculator", "output-available", { expression: "6*7" }, "42"],
  );
  assert.equal(text(answer), "결과는 42입니다.");
  assert.equal(answer.parts.filter((part) => part.type === "step-start").length, 2);
});

await check("a regenerated answer replaces the one before", async () => {
  const id = chat();
  const first = says("안녕");
  await read(await send(id, [first]));
  const again = await read(await send(id, [first], { trigger: "regenerate-message" }));
  assert.equal(text(again), SAID);
  const echo = await read(await send(id, [first, again, says("[echo]")]));
  assert.equal(text(echo).split("user: 안녕").length, 2, text(echo));
});

await check("a failure is an error of the stream", async () => {
  let failed;
  await read(await send(chat(), [says("[break]")]), { onError: (error) => (failed = error), terminateOnError: true }).catch(
    (error) => (failed = error),
  );
  assert.ok(String(failed).includes("model"), String(failed));
  await assert.rejects(send(chat(), []), /message of the user/);
});

await check("steps and questions of the sample agent are data, and its answer is text", async () => {
  const id = chat();
  const first = says("라네즈 리뷰를 분석해 주세요");
  const asked = await read(await send(id, [first], { body: { agent: "trend" } }));
  const todos = asked.parts.filter((part) => part.type === "data-todo");
  assert.ok(todos.some((part) => part.data.status === "completed"), JSON.stringify(todos));
  const question = asked.parts.find((part) => part.type === "data-question");
  assert.equal(question.data.options.length, 3);
  const report = await read(await send(id, [first, asked, says("마케터")], { body: { agent: "trend" } }), { message: asked });
  assert.ok(text(report).includes("# "), text(report).slice(0, 200));
  assert.equal(report.id, asked.id, "the answer continues the message");
});

await check("a chat that runs is resumed, and stopping it aborts the stream", async () => {
  const id = chat();
  assert.equal(await transport.reconnectToStream({ chatId: id }), null);
  const stop = new AbortController();
  const stream = await send(id, [says("[hang]")], { abortSignal: stop.signal });
  const reader = stream.getReader();
  for (let chunk; (chunk = (await reader.read()).value).type !== "text-delta"; );
  stop.abort();
  const again = await transport.reconnectToStream({ chatId: id });
  assert.ok(again, "the run goes on without the page");
  const seen = [];
  const reading = again.getReader();
  for (;;) {
    const { value, done } = await reading.read();
    if (done) break;
    seen.push(value.type);
    if (value.type === "text-delta") await fetch(`${base}/stop/${id}`, { method: "POST" });
  }
  assert.deepEqual([seen[0], seen.at(-1)], ["start", "abort"], seen.join());
  assert.equal(await transport.reconnectToStream({ chatId: id }), null);
});

console.log(`ui.mjs: ${passed} passed`);
