"""Recipes: those that are shipped, what may be set, and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from qkv.errors import RecipeError
from qkv.settings import Settings
from qkv.training.recipe import TASKS, load_recipe, parse_recipe, recipe_families
from qkv.training.vision_task import VisionRecipe
from qkv.vision.vit import ViTSettings

SHIPPED = [(family, name) for family, names in recipe_families().items() for name in names]
FILES = Path(__file__).parents[2] / "src" / "qkv" / "recipes"


def test_every_recipe_file_is_known() -> None:
    found = {(path.parent.name, path.stem) for path in FILES.rglob("*.toml")}
    assert found == set(SHIPPED)
    assert {"fashion-mnist", "vision"} <= set(recipe_families())


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_every_recipe_parses_and_survives_run_json(family: str, name: str) -> None:
    recipe = load_recipe(family, name)
    assert recipe.description.endswith(".")
    stored = json.loads(json.dumps(recipe.model_dump(mode="json")))
    assert parse_recipe(stored, where="run.json") == recipe


@pytest.mark.parametrize("family", recipe_families())
def test_every_family_has_a_default(family: str) -> None:
    assert load_recipe(family) in [load_recipe(family, name) for name in recipe_families()[family]]


def test_the_reference_is_the_source_to_the_letter() -> None:
    recipe = load_recipe("fashion-mnist", "reference")
    assert recipe.seed == 42
    assert recipe.data.validation_fraction == 0.0
    assert recipe.model.model_dump() == {
        "patch_size": 4, "dim": 64, "depth": 6, "num_heads": 4, "head_dim": 64, "mlp_dim": 256,
        "pooling": "class_token", "positions": "learned", "stem": "linear", "dropout": 0.1,
        "attention": "softmax", "qkv_bias": False, "embedding_std": 1.0, "initial_weights": "torch",
    }  # fmt: skip
    training = recipe.training
    assert (training.optimizer, training.learning_rate, training.epochs) == ("adam", 0.002, 5)
    assert (training.beta1, training.beta2, training.schedule) == (0.9, 0.999, "constant")
    assert (training.batch_size, training.evaluation_batch_size) == (100, 1000)
    assert (training.warmup_steps, training.label_smoothing, training.ema_decay) == (0, 0.0, 0.0)
    assert training.max_gradient_norm is None
    assert (training.log_every_steps, training.test_each_epoch) == (100, True)
    assert (training.keep, training.precision, training.class_weights) == (
        "last",
        "float32",
        "none",
    )
    assert not any([recipe.augment.horizontal_flip, recipe.augment.shift_pixels])
    assert recipe.augment.erase_probability == 0.0


def test_no_recipe_looks_at_the_test_split_to_decide() -> None:
    for family, name in SHIPPED:
        recipe = load_recipe(family, name)
        if recipe.training.test_each_epoch:
            assert (recipe.training.keep, recipe.training.early_stopping_epochs) == ("last", None)


def fields(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        found[prefix + name] = field
        hints = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for hint in hints:
            if isinstance(hint, type) and issubclass(hint, Settings):
                found |= fields(hint, f"{prefix}{name}.")
    return found


ALL_FIELDS = {
    f"{task}: {name}": field
    for task, table in TASKS.items()
    for name, field in fields(table().recipe).items()
} | {f"ViT: {name}": field for name, field in fields(ViTSettings).items()}


def test_the_walk_reaches_every_section() -> None:
    names = set(ALL_FIELDS)
    assert {"vision: training.epochs", "vision: expected.machine", "ViT: channels"} <= names


@pytest.mark.parametrize("name", ALL_FIELDS)
def test_every_field_is_described_and_every_number_is_bounded(name: str) -> None:
    field = ALL_FIELDS[name]
    assert field.description, f"{name} has no docstring"
    assert field.description.strip().endswith((".", ")"))
    annotations = {field.annotation, *getattr(field.annotation, "__args__", ())}
    if {int, float} & annotations:
        assert field.metadata, f"{name} has no range"


# --- --set


def loaded(*overrides: str) -> VisionRecipe:
    return load_recipe("vision", None, overrides)


def test_set_reads_values_as_toml_or_text() -> None:
    recipe = loaded(
        "training.epochs=3",
        "training.learning_rate=1e-4",
        "augment.horizontal_flip=false",
        "model.pooling=class_token",
        'description="a = b"',
        " seed = 7 ",
    )
    assert (recipe.training.epochs, recipe.training.learning_rate) == (3, 1e-4)
    assert recipe.augment.horizontal_flip is False
    assert (recipe.model.pooling, recipe.description, recipe.seed) == ("class_token", "a = b", 7)


def test_set_leaves_the_rest_and_the_last_wins() -> None:
    recipe = loaded("training.epochs=3", "training.epochs=4")
    assert recipe == loaded().model_copy(
        update={"training": loaded().training.model_copy(update={"epochs": 4})}
    )


@pytest.mark.parametrize("none", ["none", "None", " NONE "])
def test_set_none_goes_back_to_the_default(none: str) -> None:
    assert loaded().training.max_gradient_norm == 1.0
    assert loaded(f"training.max_gradient_norm={none}").training.max_gradient_norm is None
    # The recipe says 40; the setting itself, 5.
    assert (loaded().training.epochs, loaded(f"training.epochs={none}").training.epochs) == (40, 5)


def test_set_can_open_a_section() -> None:
    recipe = loaded(
        "expected.test_accuracy=0.9", "expected.train_minutes=2.5", "expected.machine=a laptop"
    )
    assert recipe.expected is not None
    assert recipe.expected.machine == "a laptop"


@pytest.mark.parametrize(
    ("override", "problem", "remedy"),
    [
        ("training.epochs", "is not key=value", "training.epochs=3"),
        ("=3", "is not key=value", "training.epochs=3"),
        ("training..epochs=3", "is not key=value", "training.epochs=3"),
        ("seed.deep=3", "'seed' is not a section", "name a setting"),
        ("training.epoch=3", "unknown key 'training.epoch'", "did you mean 'epochs'?"),
        ("trainig.epochs=3", "unknown key 'trainig'", "did you mean 'training'?"),
        (
            "zzz=3",
            "unknown key 'zzz'",
            "valid names are augment, data, description",
        ),
        ("expected.accuracy=1.0", "unknown key 'expected.accuracy'", "'test_accuracy'"),
        ("training=3", "training: Input should be a valid dictionary", "'training'"),
        ("training.epochs=0", "greater than or equal to 1, not 0", "'training.epochs'"),
        ("training.epochs=many", "valid integer, not 'many'", "'training.epochs'"),
        ("training.epochs=2.5", "valid integer, not 2.5", "'training.epochs'"),
        ("training.epochs=true", "valid integer, not True", "'training.epochs'"),
        ("training.epochs=", "valid integer, not ''", "'training.epochs'"),
        ("training.learning_rate=nan", "finite number, not nan", "'training.learning_rate'"),
        ("training.learning_rate=inf", "finite number, not inf", "'training.learning_rate'"),
        ("training.optimizer=sgd", "'adam', 'adamw' or 'muon', not 'sgd'", "'training.optimizer'"),
        ("training.device=tpu", "device: Input should be 'auto', 'cpu'", "'training.device'"),
        ("augment.horizontal_flip=yes", "valid boolean, not 'yes'", "horizontal_flip"),
        ("model.dim=[64]", "valid integer, not [64]", "'model.dim'"),
        ("seed=-1", "greater than or equal to 0", "'seed'"),
        ("seed=4294967296", "less than 4294967296", "'seed'"),
        ("task=audio", "task is 'audio'", "set task to one of vision, text"),
        ("task=[1]", "task is [1]", "set task to one of vision, text"),
        ("data.test_fraction=0.95", "leave nothing to train on", "correct"),
        ("data.validation_fraction=0.0", "needs validation_fraction above 0", "correct"),
        ("data.image_size=30", "multiple of 4", "'data.image_size'"),
    ],
)
def test_what_set_refuses(override: str, problem: str, remedy: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(override)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_error_says_which_recipe() -> None:
    with pytest.raises(RecipeError, match=r"^vision/default: training\.epochs"):
        loaded("training.epochs=0")


@pytest.mark.parametrize(
    "override",
    ["training.keep=best_loss", "training.keep=best_accuracy", "training.early_stopping_epochs=2"],
)
def test_deciding_needs_validation_data(override: str) -> None:
    with pytest.raises(RecipeError, match=r"needs data\.validation_fraction above 0"):
        load_recipe("fashion-mnist", "reference", [override])
    load_recipe("fashion-mnist", "reference", [override, "data.validation_fraction=0.1"])


# --- names and files


@pytest.mark.parametrize(
    ("family", "name", "problem", "remedy"),
    [
        ("fashion-minst", None, "unknown task 'fashion-minst'", "did you mean 'fashion-mnist'?"),
        ("fashion-mnist", "refrence", "no recipe 'refrence'", "did you mean 'reference'?"),
        ("fashion-mnist", "../vision/default", "no recipe", "valid recipes|did you mean"),
        ("..", None, "unknown task", "valid tasks are|did you mean"),
    ],
)
def test_wrong_names(family: str, name: str | None, problem: str, remedy: str) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        load_recipe(family, name)
    assert any(part in caught.value.remedy for part in remedy.split("|"))


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('task = "vision"\n[data]\ndataset = "fashion-mnist"\n[model]\ndim = 32\n')
    recipe = load_recipe("fashion-mnist", str(path), ["model.depth=2"])
    assert (recipe.model.dim, recipe.model.depth) == (32, 2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read recipe"),
        (b"\xff\xfe", "cannot read recipe"),
        (b"task = ", "mine.toml: "),
        (b"", "task is None"),
        (b'task = "vision"\n[data]\nvalidation_fraction = 0.1', "data.dataset: Field required"),
        (b'task = "vision"\n[data]\ndatset = "folder"', "unknown key 'data.datset'"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe("vision", str(path))
    assert problem in caught.value.problem
    assert str(path) in caught.value.problem


def test_all_choices_of_a_recipe_can_be_combined() -> None:
    for optimizer, schedule, keep in itertools.product(
        ["adam", "adamw"], ["constant", "linear", "cosine"], ["last", "best_loss", "best_accuracy"]
    ):
        chosen = (f"training.optimizer={optimizer}", f"training.schedule={schedule}")
        assert loaded(*chosen, f"training.keep={keep}").training.keep == keep


def test_the_old_name_of_what_is_expected_is_read() -> None:
    values = load_recipe("fashion-mnist").model_dump(mode="json")
    old = {("promise" if key == "expected" else key): value for key, value in values.items()}
    assert parse_recipe(old, where="run.json") == load_recipe("fashion-mnist")
