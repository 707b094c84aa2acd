"""``python -m harness.bench.contestants.transformers_server MODEL OPTIONS``: ``transformers serve``, less its parser of
answers, which cuts what a model without an end token says down to its last turn: whole answers are compared.
"""

from __future__ import annotations

import typer
from transformers.cli.serve import Serve
from transformers.cli.serving import utils as serving

if __name__ == "__main__":
    serving.get_response_template = lambda *_: None
    typer.run(Serve)
