"""What this dialect's clients also ask for: a 501, as they read a 404 as an empty list."""

from typing import Final

from api.unserved import not_here, router_of
from api.watsonx.errors import render

UNAVAILABLE: Final = (
    "agents/external-chat",
    "analytics",
    "application_config",
    "assistants/watsonx",
    "channels",
    "connections",
    "flow-model",
    "flow-models",
    "flows",
    "gateway",
    "knowledge-bases",
    "model-selection",
    "model_policy",
    "models",
    "policies",
    "threads/logs",
    "toolkits",
    "traces",
    "upload-to-s3",
    "voice_configurations",
)


router = router_of(UNAVAILABLE, lambda resource, _path: render(not_here(resource)))
