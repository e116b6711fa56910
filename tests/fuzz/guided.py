"""One target under a coverage-guided fuzzer: guided.py TARGET [libFuzzer's options].

Needs atheris, which only ``scripts/fuzz`` installs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["synccr", "json5", "msgspec"]):
    from targets import SEEDS, TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
