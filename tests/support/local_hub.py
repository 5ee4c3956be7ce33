"""A stand-in for the Hugging Face Hub: folders on this machine, and links to them, as in the Hub's cache."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest


def local_hub(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the calls of the Hub that are used by ones that keep repositories as folders."""

    class Api:
        def create_repo(self, repository: str, **_: object) -> None:
            if repository.startswith("others/"):
                raise OSError(f"403 Forbidden: {repository}\nof another owner")
            (store / repository).mkdir(parents=True)

        def upload_folder(self, *, repo_id: str, folder_path: str) -> str:
            for source in Path(folder_path).iterdir():
                (store / repo_id / source.name).write_bytes(source.read_bytes())
            return "commit"

    def download(repository: str, name: str, revision: str | None) -> str:
        place, link = store / repository / name, store / f"snapshot-{revision}" / name
        if not place.exists():
            raise FileNotFoundError(f"404: {repository}\nthere is none")
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
