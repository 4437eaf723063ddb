"""Guardrails: detectors check the input and the output of a run."""
