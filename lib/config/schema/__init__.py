"""Every configuration key: its type, its default, its range, and what it does.

In YAML the keys are upper case, as SeqTrack's files have always spelled them; in Python the
same names are lower case: `TRAIN.BATCH_SIZE` is `cfg.train.batch_size`. Models are frozen and
strict: an unknown key, a word where a number belongs, or a whole number where true/false
belongs is an error. To add a key, add a field with a default and a docstring in `model` or
`training`; a rule that involves several keys goes to `rules`.
"""

from pydantic import PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from lib.config.schema.fields import Section
from lib.config.schema.model import PUBLISHED_CONFIGS, Geometry
from lib.config.schema.rules import Sections, find_problems

__all__ = ["PUBLISHED_CONFIGS", "Config", "Geometry", "Section"]


class Config(Sections):
    """A whole configuration. Two with the same values and the same name are equal."""

    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Stem of the file it was loaded from: it names checkpoints, results and logs."""
        return self._name

    def named(self, name: str) -> "Config":
        copy = self.model_copy()
        copy._name = name
        return copy

    @model_validator(mode="after")
    def _rules(self) -> "Config":
        search, template = self.data.search, self.data.template
        crops = {
            "search_size": search.size,
            "search_factor": search.factor,
            "template_size": template.size,
            "template_factor": template.factor,
        }
        left_out = {k: v for k, v in crops.items() if k not in self.test.model_fields_set}
        # Nobody has seen this configuration yet; from here on it is frozen.
        self.__dict__["test"] = self.test.model_copy(update=left_out)
        problems = find_problems(self)
        if problems:
            text = "\n".join(f"{problem.keys[0]}: {problem.message}" for problem in problems)
            raise PydanticCustomError("rules", "{text}", {"text": text, "problems": problems})
        return self
