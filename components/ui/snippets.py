"""The script that repeats a run: the same clip and settings, through the API."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def python_snippet(url: str, filename: str, settings: Mapping[str, object]) -> str:
    """For ``gradio_client``; every value is a literal, whatever it holds."""
    arguments = "".join(f"    {name}={value!r},\n" for name, value in settings.items())
    return (
        "from gradio_client import Client, handle_file\n\n"
        f"client = Client({url!r})\n"
        "result = client.predict(\n"
        f"    audio=handle_file({filename!r}),  # path of the clip's file\n{arguments}"
        '    api_name="/compare",\n'
        ")\n"
        'print(result["speed_up"])\n'
        'for run in result["runs"]:\n'
        '    print(run["lane_id"], run["generation_time_s"], run["text"])\n'
    )


def curl_snippet(url: str, filename: str, settings: Mapping[str, object]) -> str:
    """Upload, call, then read the result as server-sent events; quoted for a POSIX shell."""
    audio = {"path": "\0", "meta": {"_type": "gradio.FileData"}}
    # json.dumps writes the placeholder as \u0000: the shell puts the uploaded path there.
    before, after = json.dumps({"audio": audio, **settings}).split("\\u0000", maxsplit=1)
    # Inside double quotes curl takes ; and , in a file's name as they are.
    quoted = filename.replace("\\", "\\\\").replace('"', '\\"')
    form = f'files=@"{quoted}"'
    body = f'{shlex.quote(before)}"$FILE"{shlex.quote(after)}'
    return (
        "# files=@ wants the path of the clip's file.\n"
        f"URL={shlex.quote(url.rstrip('/'))}\n"
        f'FILE=$(curl -sS --fail -F {shlex.quote(form)} "$URL/gradio_api/upload" | tr -d \'[]"\')\n'
        'EVENT=$(curl -s "$URL/gradio_api/call/v2/compare" -H "Content-Type: application/json" \\\n'
        f"  -d {body} | tr -d '\"{{}} ' | cut -d: -f2)\n"
        'curl -sN "$URL/gradio_api/call/compare/$EVENT"\n'
    )
