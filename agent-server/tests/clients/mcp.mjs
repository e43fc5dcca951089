// Drives agent-server with MCP's own SDK, over streamable HTTP and stdio. Usage: node mcp.mjs BASE BINARY
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [base, binary] = process.argv.slice(2);
let passed = 0;
const connect = async (transport, elicit) => {
  const client = new Client({ name: "drive", version: "1" }, { capabilities: elicit ? { elicitation: {} } : {} });
  if (elicit) client.setRequestHandler(ElicitRequestSchema, elicit);
  await client.connect(transport);
  return client;
};
const http = () => new StreamableHTTPClientTransport(new URL(`${base}/mcp`));
const stdio = () =>
  new StdioClientTransport({
    command: binary,
    args: ["mcp"],
    env: { ...process.env, DATABASE_PATH: ":memory:" },
    stderr: "inherit",
  });

for (const [name, open] of [["http", http], ["stdio", stdio]]) {
  const check = async (what, run) => {
    try {
      await run();
      passed++;
    } catch (error) {
      console.error(`FAILED ${name}: ${what}`);
      throw error;
    }
  };

  await check("tools and agents are listed, with schemas of their results", async () => {
    const client = await connect(open());
    const { tools } = await client.listTools();
    const names = tools.map((tool) => tool.name);
    for (const wanted of ["calculator", "trend"]) assert.ok(names.includes(wanted), names.join());
    const trend = tools.find((tool) => tool.name === "trend");
    assert.deepEqual(Object.keys(trend.inputSchema.properties), ["message", "context"]);
    assert.deepEqual(Object.keys(trend.outputSchema.properties), ["response"]);
    const sum = await client.callTool({ name: "calculator", arguments: { expression: "6*7" } });
    assert.equal(sum.content[0].text, "42");
    // The agent with tools: over HTTP at an endpoint that answers by rule, over stdio without a model.
    const answer = await client.callTool({ name: "assistant", arguments: { message: "6*7?" } });
    if (name === "http") assert.ok(!answer.isError && answer.structuredContent.response, JSON.stringify(answer));
    else assert.ok(answer.isError && answer.content[0].text.includes("VLLM_BASE_URL"), JSON.stringify(answer));
    const refused = await client.callTool({ name: "trend", arguments: { message: "라네즈", context: { audience: "doctors" } } });
    assert.ok(refused.isError && refused.content[0].text.includes("audience"), JSON.stringify(refused));
    await client.close();
  });

  await check("an agent reports progress and asks through the client", async () => {
    const asked = [];
    const client = await connect(open(), async ({ params }) => {
      asked.push(params);
      return { action: "accept", content: { answer: params.requestedSchema.properties.answer.enum[2] } };
    });
    const progress = [];
    const report = await client.callTool(
      { name: "trend", arguments: { message: "라네즈 리뷰를 분석해 주세요" } },
      undefined,
      { onprogress: (note) => progress.push(note), timeout: 60_000 },
    );
    assert.ok(report.structuredContent.response.startsWith("# "), JSON.stringify(report).slice(0, 300));
    assert.ok(report.structuredContent.response.includes("마케터"));
    assert.equal(asked.length, 1);
    assert.ok(asked[0].message.startsWith("보고서를 누구를 위해"), asked[0].message);
    assert.ok(progress.length > 3 && progress.every((note) => note.message), JSON.stringify(progress));
    await client.close();
  });

  await check("without elicitation the question is an error that says so", async () => {
    const client = await connect(open());
    const failed = await client.callTool({ name: "trend", arguments: { message: "라네즈 리뷰를 분석해 주세요" } });
    assert.ok(failed.isError && failed.content[0].text.includes("elicitation"), JSON.stringify(failed));
    await client.close();
  });

  await check("a cancelled call stops the run", async () => {
    let asked;
    const waits = new Promise((resolve) => (asked = resolve));
    const client = await connect(open(), () => (asked(), new Promise(() => {})));
    const stop = new AbortController();
    const call = client.callTool(
      { name: "trend", arguments: { message: "라네즈 리뷰를 분석해 주세요" } },
      undefined,
      { signal: stop.signal },
    );
    await waits;
    stop.abort();
    await assert.rejects(call);
    const sum = await client.callTool({ name: "calculator", arguments: { expression: "1+1" } });
    assert.equal(sum.content[0].text, "2", "the session lives on");
    await client.close();
  });
}
console.log(`mcp.mjs: ${passed} passed`);
