"""An agent of the framework as a structure, as its users write one."""

import os
import sys
from contextlib import nullcontext

from griptape.drivers.event_listener.griptape_cloud import GriptapeCloudEventListenerDriver
from griptape.drivers.observability.griptape_cloud import GriptapeCloudObservabilityDriver
from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
from griptape.events import EventBus, EventListener
from griptape.observability import Observability
from griptape.structures import Agent

EventBus.add_event_listener(
    EventListener(
        event_listener_driver=GriptapeCloudEventListenerDriver(batched=os.environ.get("BATCHED") != "no")
    )
)
observed = nullcontext()
if os.environ.get("OBSERVED"):
    observed = Observability(observability_driver=GriptapeCloudObservabilityDriver())
with observed:
    Agent(
        prompt_driver=OpenAiChatPromptDriver(
            model="words-5-0",
            base_url=os.environ["OPENAI_BASE_URL"],
            api_key=os.environ["OPENAI_API_KEY"],
            stream=True,
        )
    ).run(sys.argv[1])
