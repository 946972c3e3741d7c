"""Gradio's own switch makes tools of the endpoints, for programs that speak the Model Context Protocol."""

from __future__ import annotations

import ast
import base64
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from components.ui import layout
from tests.ui.test_api import LANES

pytest.importorskip("mcp", reason="the package mcp is not installed")
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture(scope="module")
def mcp_url(lab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_MCP_SERVER", "True")
        page = layout.build(lab)
        options = layout.launch_options(page, lab) | {
            "server_name": "127.0.0.1",
            "quiet": True,
            "prevent_thread_lock": True,
        }
        _, address, _ = page.launch(**options)
    yield f"{address}gradio_api/mcp/"
    page.close()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[ClientSession]:
    async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as client:
        await client.initialize()
        yield client


def run(function: Callable[..., Awaitable[Any]], *args: object) -> Any:
    """Await a function in a thread of its own: Playwright leaves an event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, function, *args).result()


def test_every_tool_and_argument_is_described(mcp_url):
    async def tools():
        async with session(mcp_url) as client:
            return (await client.list_tools()).tools

    found = {tool.name: tool for tool in run(tools)}
    assert set(found) == {"benchmark", "compare", "live", "models"}
    for tool in found.values():
        assert len(tool.description) > 100
        for name, argument in tool.inputSchema["properties"].items():
            assert argument["description"].endswith("."), f"{tool.name}: {name} is cut off at its first line"
    assert found["compare"].inputSchema["required"] == ["audio"]


def test_a_tool_is_called(mcp_url, clip_file):
    async def compare(audio):
        async with session(mcp_url) as client:
            return await client.call_tool("compare", {"audio": audio})

    sound = f"data:audio/wav;base64,{base64.b64encode(clip_file.read_bytes()).decode()}"
    result = run(compare, sound)
    assert not result.isError
    comparison = ast.literal_eval(result.content[0].text)  # Gradio writes a dict as Python does
    assert [run["lane_id"] for run in comparison["runs"]] == LANES
    assert comparison["speed_up"]["distil"] > 0

    for wrong in (str(clip_file), f"file://{clip_file}", "http://127.0.0.1:9/clip.wav", sound[:100]):
        refused = run(compare, wrong)
        assert refused.isError, wrong
        assert "Traceback" not in refused.content[0].text
