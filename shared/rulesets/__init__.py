"""Rulesets and their rules: what an assistant is to observe."""
