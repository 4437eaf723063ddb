"""OpenAI's models at Azure; the model is the name of the deployment."""

import openai

from worker.executors.griptape.providers.openai import OpenAi, warm_up
from worker.executors.griptape.providers.setup import Setup, segment

__all__ = ["build", "warm_up"]

API_VERSION = "2024-10-21"  # the first that reports usage while streaming


def build(setup: Setup) -> OpenAi:
    """Make the provider, from AZURE_OPENAI_ENDPOINT, …_API_KEY or …_AD_TOKEN, and OPENAI_API_VERSION."""
    endpoint = setup.require("AZURE_OPENAI_ENDPOINT")
    setup.require("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
    client = openai.AzureOpenAI(
        azure_endpoint=endpoint,
        azure_deployment=segment(setup.model),
        api_key=setup.find("AZURE_OPENAI_API_KEY"),
        azure_ad_token=setup.find("AZURE_OPENAI_AD_TOKEN"),
        api_version=setup.find("OPENAI_API_VERSION") or API_VERSION,
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )
    return OpenAi(setup, client)
