#!/usr/bin/env python3
"""Drives agent-server with MCP's Python SDK, over streamable HTTP and stdio. Usage: mcp_drive.py BASE BINARY"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters, types

TASK = {"message": "라네즈 리뷰를 분석해 주세요"}


async def drive(server):
    asked, progress = [], []

    async def elicit(_, params):
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"answer": "마케터"})

    async def noted(at, total, message):
        progress.append(message)

    # With the handshake: the protocol of 2026-07-28 has no session in which the server could ask.
    async with Client(server, elicitation_callback=elicit, read_timeout_seconds=60, mode="legacy") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"calculator", "trend"} <= tools.keys(), tools.keys()
        assert list(tools["trend"].output_schema["properties"]) == ["response"], tools["trend"]
        result = await client.call_tool("calculator", {"expression": "6*7"})
        assert result.content[0].text == "42", result
        result = await client.call_tool("trend", TASK, progress_callback=noted)
        assert result.structured_content["response"].startswith("# "), result
        assert len(asked) == 1 and asked[0].startswith("보고서를 누구를 위해"), asked
        assert len(progress) > 3, progress
        result = await client.call_tool("calculator", {"expresion": "1"})
        assert result.is_error and "expression" in result.content[0].text, result


async def alone(server):
    """The protocol without sessions: everything but questions."""
    async with Client(server, read_timeout_seconds=60) as client:
        result = await client.call_tool("trend", {**TASK, "context": {"audience": "buyers"}})
        assert result.structured_content["response"].startswith("# "), result
        result = await client.call_tool("trend", TASK)
        assert result.is_error and "elicitation" in result.content[0].text, result


async def main():
    base, binary = sys.argv[1:]
    env = {**os.environ, "DATABASE_PATH": ":memory:"}
    await alone(f"{base}/mcp")
    await drive(f"{base}/mcp")
    await drive(StdioServerParameters(command=binary, args=["mcp"], env=env))
    print("mcp_drive.py: passed")


asyncio.run(main())
