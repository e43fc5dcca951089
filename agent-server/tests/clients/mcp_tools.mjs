// The tools of an MCP server in the settings, through the assistant. Usage: node mcp_tools.mjs BASE
import assert from "node:assert/strict";

const [base] = process.argv.slice(2);
const say = async (content, conversation_id) => {
  const response = await fetch(`${base}/api/v1/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ content, conversation_id }),
  });
  return response.json();
};
const echoed = await say('[tool everything_echo {"message": "안녕 MCP"}]');
assert.equal(echoed.tool_calls[0].name, "everything_echo", JSON.stringify(echoed));
assert.ok(echoed.content.includes("안녕 MCP"), JSON.stringify(echoed));
const sum = await say('[tool everything_get-sum {"a": 40, "b": 2}]');
assert.ok(sum.content.includes("42"), JSON.stringify(sum));
// The model gets the image itself, in a message behind the result.
const image = await say("[tool everything_get-tiny-image {}]");
assert.equal(image.content, "이미지를 받았습니다: image/png", JSON.stringify(image));

// Calls of a server with `"approval": "always"` wait for a person, who sees the arguments.
for (const [answer, runs] of [["no", false], ["네", true], ["2", false], ["APPROVE", true]]) {
  const asked = await say('[tool guarded_echo {"message": "비밀 43"}]');
  assert.ok(asked.content.includes("guarded_echo") && asked.content.includes("비밀 43"), JSON.stringify(asked));
  assert.equal(asked.tool_calls[0].result, null, JSON.stringify(asked));
  const unclear = await say("maybe", asked.conversation_id);
  assert.equal(unclear.code, "invalid_answer", JSON.stringify(unclear));
  assert.ok(unclear.detail.includes('one of ["approve","reject"]'), JSON.stringify(unclear));
  const done = await say(answer, asked.conversation_id);
  const call = done.tool_calls[0];
  assert.equal(String(call.result ?? "").includes("비밀 43"), runs, JSON.stringify(done));
  assert.equal(call.error == null, runs, JSON.stringify(done));
}
console.log("mcp_tools.mjs: passed");
