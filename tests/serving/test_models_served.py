"""Which runs are served, under which ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from qkv.errors import RunError
from qkv.serving.models import Models, _free_id, open_models


def test_runs_are_known_by_slugs_of_their_names(models: Models) -> None:
    assert list(models) == ["bands", "reviews"]
    assert models["bands"].name == "Bands"
    assert models["bands"].task == "vision"
    assert models["reviews"].task == "text"
    assert models["bands"].class_names == ("low end", "middle", "top")
    assert 0 <= (models["bands"].accuracy or -1) <= 1


@given(names=st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_ids_are_unique_and_never_a_path(names: list[str]) -> None:
    taken: dict[str, object] = {}
    for name in names:
        model_id = _free_id(name, taken)
        assert model_id not in taken
        assert 0 < len(model_id) <= 70
        assert set(model_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
        assert not model_id.startswith(".")
        taken[model_id] = None


def test_two_runs_of_one_name_are_told_apart(vision_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "Bands"
    shutil.copytree(vision_run, copy)
    assert list(open_models([vision_run, copy])) == ["bands", "bands-2"]


def test_no_run_is_refused() -> None:
    with pytest.raises(RunError, match="no run to serve"):
        open_models([])


def test_an_unfinished_run_is_refused(vision_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(vision_run, copy)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(RunError, match="is not finished; finish it with qkv train --resume"):
        open_models([copy])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        open_models([tmp_path])


def test_the_list_names_every_model(client: TestClient) -> None:
    answer = client.get("/v1/models")
    assert answer.status_code == 200
    vision, text = answer.json()["models"]
    assert vision["id"] == "bands"
    assert vision["class_names"] == ["low end", "middle", "top"]
    assert text["task"] == "text"
    assert 0 <= text["accuracy"] <= 1


def test_a_vision_model_says_what_a_page_needs(client: TestClient) -> None:
    found = client.get("/v1/models/bands").json()
    assert found["input"] == {"image_size": 16, "channels": 1, "patch_size": 4, "grid_size": 4}
    assert found["attention"]["layers"] == [1, 2]
    assert found["attention"]["heads"] == 2
    assert found["attention"]["class_token"] is True
    assert found["default_method"] in found["methods"]
    assert found["limits"]["max_inputs"] == 64
    assert found["card"]["parameters"] > 0
    assert found["card"]["test"]["accuracy"] == found["accuracy"]


def test_a_text_model_says_what_a_page_needs(client: TestClient, models: Models) -> None:
    found = client.get("/v1/models/reviews").json()
    assert found["input"] == {"max_tokens": 40}
    assert found["attention"]["layers"][:2] == [1, 2]
    assert found["attention"]["heads"] == 2
    assert ("head" in found["attention"]["layers"]) == found["attention"]["pool"]
    assert found["default_method"] in found["methods"]


def test_an_unknown_model_is_refused_with_the_nearest(client: TestClient) -> None:
    answer = client.get("/v1/models/review")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "there is no model 'review'",
        "remedy": "did you mean 'reviews'?",
    }


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2fbands", "%2fetc%2fpasswd", "bands/../reviews/x", "a" * 5000]
)
def test_no_name_reaches_a_file(client: TestClient, name: str) -> None:
    answer = client.get(f"/v1/models/{name}")
    assert answer.status_code in {200, 404}
    if answer.status_code == 404:
        assert set(answer.json()) == {"error", "remedy"}
        assert len(answer.text) < 1000
