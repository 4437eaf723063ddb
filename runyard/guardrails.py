"""What a guardrail imports: the detector protocol and its findings.

A detector is a function of the entry-point group `runyard.guardrails`; the entry point's name is the
guardrail's. docs/extending.md has an example.
"""

from worker.guardrails.base import Detector, Finding

__all__ = ("Detector", "Finding")
