"""Measurements, run by hand; in a process that keeps its memory as the page and the command line do."""

from components.engines.memory import keep_freed_memory

keep_freed_memory()
