"""Rulesets and their rules, which assistants follow."""
