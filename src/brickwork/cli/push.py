"""Verb ``brickwork push``: a model to the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import Positional, arg

import brickwork as bw
from brickwork.cli.arguments import ModelName
from brickwork.errors import UsageError
from brickwork.files.revision import HUB
from brickwork.files.streams import say


def push(
    model: Positional[ModelName],
    repository: Positional[Annotated[str, arg(metavar="OWNER/NAME")]],
    *,
    licence: Annotated[str, arg(metavar="LICENCE")] = "",
    tags: Annotated[tuple[str, ...], arg(aliases=["--tag"], metavar="TAG ...")] = (),
    pictures: int = 8,
    text: Annotated[str, arg(metavar="TEXT")] = "",
    private: bool = False,
) -> None:
    """Upload a model to the Hugging Face Hub, with a card.

    The card states licence, tags and task, shows pictures that the model draws, and ends with all that its file says.
    `hf auth login` keeps the password.

    Args:
        model: Model to upload.
        repository: Repository; it is made if it does not exist.
        licence: Licence of the weights, by the Hub's word for it, such as apache-2.0; unstated when left out.
        tags: Further tags beside brickwork, diffusion and the backbone's name.
        pictures: Pictures drawn for the card; 0 for none.
        text: Caption of these pictures, for a model that reads text.
        private: Make a new repository private.
    """
    name = repository.removeprefix(HUB)
    if len([part for part in name.split("/") if part]) != 2 or "@" in name:
        raise UsageError(f"repository {repository!r}: give owner/name, as in me/birds")
    place = bw.push_to_hub(
        bw.load(model), name, private=private, licence=licence, tags=tags, pictures=pictures, text=text
    )
    say(place, f"draw: brickwork sample {HUB}{name}")
