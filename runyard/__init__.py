"""The public surface for extensions: what an executor or a guardrail of another distribution imports."""
