"""Amazon Bedrock, by way of boto3, whose requests go over the run's own connections."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import httpx2
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from griptape.common import DeltaMessage, PromptStack
from griptape.drivers.prompt.amazon_bedrock import AmazonBedrockPromptDriver
from griptape.tokenizers import AmazonBedrockTokenizer

from worker.executors.base import InvalidConfigurationError
from worker.executors.providers.completeness import checked, counts_tokens
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer


class _Body:
    """A response as boto3 reads one of its own."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    def stream(self) -> Iterator[bytes]:
        yield from self._response.iter_bytes()

    def close(self) -> None:
        self._response.close()


class AmazonBedrockDriver(AmazonBedrockPromptDriver):
    """The framework's driver, but an answer that was cut off is no answer."""

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        return checked(super().try_stream(prompt_stack), counts_tokens)


def build(setup: Setup) -> AmazonBedrockDriver:
    """Make the driver, from the AWS_… variables, a profile or the machine's role."""
    session = _session()
    if session.region_name is None:
        raise InvalidConfigurationError(
            "amazon-bedrock needs AWS_DEFAULT_REGION in the worker's environment."
        )
    setup.find("AWS_BEARER_TOKEN_BEDROCK")  # the library reads it; what cannot be sent is told here
    client = session.client(
        "bedrock-runtime", config=Config(retries={"total_max_attempts": 1}), **_keys(setup)
    )
    http_client = setup.connections.http_client()

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Take the place of boto3's own transport, whose blocked reads nothing could end."""
        outgoing = http_client.build_request(
            request.method, request.url, headers=dict(request.headers.items()), content=request.body
        )
        response = http_client.send(outgoing, stream=True)
        return AWSResponse(request.url, response.status_code, response.headers, _Body(response))

    client.meta.events.register("before-send.bedrock-runtime", send)
    return AmazonBedrockDriver(
        model=setup.model,
        session=session,
        client=client,
        tokenizer=estimating_tokenizer(setup.model, AmazonBedrockTokenizer),
        stream=True,
    )


def _keys(setup: Setup) -> dict[str, str]:
    """The keys of the environment, if there are; without, the library looks for a profile or a role."""
    names = {name: setup.find(name.upper()) for name in ("aws_access_key_id", "aws_secret_access_key")}
    keys = {name: value for name, value in names.items() if value}
    token = setup.find("AWS_SESSION_TOKEN")
    return {**keys, **({"aws_session_token": token} if token else {})} if len(keys) == len(names) else {}


@cache
def _session() -> boto3.Session:
    """One for the process: it holds the description of the service."""
    return boto3.Session()
