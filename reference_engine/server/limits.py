"""What one server takes on, and what it will not. Every field is an option of ``assay serve``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The engine's own (prompt tokens, images, pixels) are in :class:`reference_engine.config.EngineConfig`."""

    max_body_mb: int = 64
    """Body of a call; more is 413."""
    head_seconds: int = 20
    """How long the head of a request (its first line and headers) may take to arrive; longer is 408."""
    body_seconds: int = 60
    """How long a body may take to arrive; longer is 408."""
    reader_seconds: int = 60
    """How long a reader may take nothing of what there is for it before it is cut off, and its request aborted."""
    max_depth: int = 32
    """Lists and objects inside each other in a body."""
    max_containers: int = 100_000
    """Lists and objects in a body, and likewise names in objects: an empty list of three bytes takes a hundred times
    that in memory."""
    max_values: int = 4_000_000
    """Values in a body, counted by their commas."""
    max_image_mb: int = 32
    """Bytes of one image, whether it came in the body, from a URL or a file."""
    max_megapixels: int = 256
    """Pixels, in millions, of all images and frames of a call, judged before they are decoded."""
    media_hosts: str = ""
    """Hosts that images may be fetched from, as a.example,b.example:8080; none: URLs are not fetched."""
    media_networks: str = ""
    """Networks that are not public and that those hosts may be in, as 10.0.0.0/8; none: such hosts are refused."""
    media_root: str = ""
    """Folder whose files clients may name as images; none: files are not opened."""
    fetch_seconds: int = 10
    """How long fetching an image may take. It keeps one of the threads below busy."""
    max_calls: int = 1024
    """Calls at once; one more is 429."""
    max_held_mb: int = 1024
    """Bodies and decoded pictures of all calls together; while there is more, a new call is 429."""
    max_batch: int = 128
    """Prompts of a call."""
    prepare_threads: int = 2
    """Threads that read bodies, decode pictures and tokenize."""
    health_seconds: int = 20
    """How long ``/health_generate`` waits for a token."""
