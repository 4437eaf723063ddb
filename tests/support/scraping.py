"""Scrapes of processes, parsed by Prometheus' own parser, and added up."""

from collections import Counter
from collections.abc import Iterable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]


def parse(text: str) -> dict[Series, float]:
    """The samples of a scrape, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scrape:
    """What several processes have shown, added up."""

    def __init__(self, urls: Iterable[str], *, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.texts = []
        for url in urls:
            answer = httpx2.get(url, headers=headers, timeout=60, trust_env=False)
            answer.raise_for_status()
            self.texts.append(answer.text)
        self._samples: Counter[Series] = Counter()
        for text in self.texts:
            self._samples.update(parse(text))

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels."""
        wanted = set(labels.items())
        return sum(
            value for (own, pairs), value in self._samples.items() if own == name and wanted <= set(pairs)
        )

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The sums of the samples of a name by the values of some labels, without those that are 0."""
        found: Counter[tuple[str, ...]] = Counter()
        for (own, pairs), value in self._samples.items():
            if own == name:
                found[tuple(dict(pairs).get(label, "") for label in labels)] += value
        return {key: value for key, value in found.items() if value}
