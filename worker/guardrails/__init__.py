"""Guardrails: what looks at what goes into a run and at what comes out of it."""
