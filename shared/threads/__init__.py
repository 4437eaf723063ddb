"""Threads: conversations that runs continue, and the messages in them."""
