"""The harness is run in a process of its own, as `scripts/fuzz_readers.py` does."""

from __future__ import annotations

collect_ignore = ["judge.py", "mutations.py", "seeds.py"]
