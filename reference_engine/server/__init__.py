"""The reference engine over HTTP: SGLang's ``/generate``, OpenAI's ``/v1/chat/completions`` and ``/v1/completions``,
health, metrics, settings; tokenizing, aborting, forgetting caches (``control``).

A call moves left to right: ``connections`` (HTTP, and how slow it may be) -> ``keys`` (who may call) -> ``calls``
(watch the client) with ``bodies`` (type, size, speed and depth) -> ``protocol`` (what may be sent) -> ``native``,
``completions``, or ``openai`` with ``chat`` (one engine request a prompt; ``media``) -> ``worker`` (the engine's own
thread) -> back as JSON or as events.

Whatever is sent, the answer is 2xx or 4xx and names the field; ``limits`` says how much is taken on, and more than that
at once is 429 with ``Retry-After``. Bodies are parsed, pictures decoded and texts tokenized in threads, so that
``/health`` stays quick. No URL is fetched and no file opened for a client unless the operator allowed that host or that
folder (``sources``, ``fetching``). The engine shares the server's process: with it every client's connection ends; a
process that shares the model (``tensor_parallel``) can be lost alone, which ends the engine: every client gets 503, and
so does ``/health``, until the server is started again.
"""
