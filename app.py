"""Start the page: settings from the environment, then the Lab, then Gradio."""

from __future__ import annotations

import logging
import os
import sys
import threading

from components.core.errors import SettingsError
from components.core.settings import Settings
from components.engines.memory import keep_freed_memory
from components.ui.life import check_address, log_to_stderr, serve_until_told_to_stop
from components.ui.storage import Storage


def main() -> None:
    keep_freed_memory()
    log_to_stderr(os.environ.get("HF_TOKEN"))
    for client in ("httpx", "httpx2"):  # Gradio's own look at its start, and every request to the hub
        logging.getLogger(client).setLevel(logging.WARNING)
    try:
        settings = Settings.from_env(os.environ)
        check_address(os.environ)
        storage = Storage()
    except SettingsError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(2) from None

    # Gradio adds up what its monitoring page would show, after every event, in the midst of somebody's measurement.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")

    from components.runs.lab import Lab
    from components.ui import layout

    lab = Lab(settings)
    if lab.loads_before_launch:
        lab.load()
    page = layout.build(lab)
    page.launch(prevent_thread_lock=True, **layout.launch_options(page, lab, storage))
    if not lab.loads_before_launch:
        # The page is up before the models are: a visitor reads while they load.
        threading.Thread(target=lab.load, name="load", daemon=True).start()
    serve_until_told_to_stop(page, storage)


if __name__ == "__main__":
    main()
