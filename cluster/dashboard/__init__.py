"""The live page of a run: reads its folder, serves one page and what changed since last time."""
