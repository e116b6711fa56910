"""TEMP"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from synccr.paths import Paths


@dataclass(frozen=True)
class Translation:
    document: dict[str, Any]
    routes: dict[str, Any]


def translate(
    config: Mapping[str, Any], address: Callable[[str], str], paths: Paths
) -> Translation:
    providers, models = [], {}
    for n, p in enumerate(config["Providers"]):
        providers.append(
            {
                "id": f"e{n}",
                "name": f"e{n}",
                "api_base_url": address(p["name"]) + "/v1/chat/completions",
                "api_key": "synccr",
                "models": list(p["models"]),
                "protocol": "openai_chat_completions",
            }
        )
        for m in p["models"]:
            models[f"{p['name']},{m}".lower()] = f"e{n},{m}"
    return Translation(
        {
            "Providers": providers,
            "API_TIMEOUT_MS": config.get("API_TIMEOUT_MS", 600000),
            "profile": {"enabled": False},
        },
        {"routes": config["Router"], "models": models},
    )
