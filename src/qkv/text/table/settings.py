"""What a user may say of a table of texts."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from qkv.settings import Settings


class TextTableSettings(Settings):
    """Which columns of a table are read, and how its rows are divided."""

    text_column: str | None = Field(default=None, min_length=1)
    """Name of the column of texts. None guesses it where the names leave no doubt."""

    label_column: str | None = Field(default=None, min_length=1)
    """Name of the column of labels. None guesses it where the names leave no doubt."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided texts for validation, where no such split is given; 0 to 1."""

    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the undivided texts for the test, where no such split is given; 0 to 1."""

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.text_column is not None and self.text_column == self.label_column:
            raise ValueError("text_column and label_column name the same column")
        return self
