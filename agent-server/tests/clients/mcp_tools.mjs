// The tools of an MCP server in the settings, through the assistant. Usage: node mcp_tools.mjs BASE
import assert from "node:assert/strict";

const [base] = process.argv.slice(2);
const say = async (content) => {
  const response = await fetch(`${base}/api/v1/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ content }),
  });
  return response.json();
};
const echoed = await say('[tool everything_echo {"message": "안녕 MCP"}]');
assert.equal(echoed.tool_calls[0].name, "everything_echo", JSON.stringify(echoed));
assert.ok(echoed.content.includes("안녕 MCP"), JSON.stringify(echoed));
const sum = await say('[tool everything_get-sum {"a": 40, "b": 2}]');
assert.ok(sum.content.includes("42"), JSON.stringify(sum));
const image = await say("[tool everything_get-tiny-image {}]");
assert.ok(image.content.includes("image/png"), JSON.stringify(image));
console.log("mcp_tools.mjs: passed");
