"""The reference engine over HTTP: SGLang's ``/generate``, OpenAI's ``/v1/chat/completions`` and ``/v1/completions``,
health, metrics, settings; tokenizing, aborting, forgetting caches (``control``).

A call moves left to right: ``calls`` (read the body, watch the client) -> ``protocol`` (what may be sent) ->
``native``, ``completions``, or ``openai`` with ``chat`` (one engine request a prompt; ``media``) -> ``worker`` (the
engine's own thread) -> back as JSON or as events. Nothing here fetches a URL or opens a file for a client.
"""
