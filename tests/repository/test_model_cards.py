"""docs/models.md: a card for every model that is shipped or published, with all its parts."""

import re

from lib.config.loader import load_config
from lib.config.paths import repository_root
from lib.config.schema import PUBLISHED_CONFIGS

ROOT = repository_root()
SECTIONS = ("Intended use", "Training data", "Licence", "Scores", "Limits")
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")
SIDES = {"vit_base_patch16": "ViT-B/16", "vit_large_patch16": "ViT-L/16"}


def cards():
    """The models of each card, and its sections."""
    for card in PAGE.split("\n## ")[1:]:
        head, *parts = card.split("\n### ")
        names = re.search(r"\*\*Models:\*\*(.*?)\n\n", head + "\n\n", re.DOTALL)[1]
        yield re.findall(r"`(\w+)`", names), dict(part.split("\n", 1) for part in parts)


def test_every_model_has_one_card_with_all_sections():
    shipped = [path.parent.name for path in (ROOT / "checkpoints").rglob("SEQTRACK.*.tar")]
    found = list(cards())
    assert sorted(name for names, _ in found for name in names) == sorted(
        {*PUBLISHED_CONFIGS, *shipped}
    )
    assert {"seqtrack_nano", "seqtrack_tiny"} <= set(shipped)
    for names, sections in found:
        assert tuple(sections) == SECTIONS, names
        assert all(len(text.split()) >= 15 for text in sections.values()), names
        assert re.search(r"\]\([^)]+\.md#?[^)]*\)", sections["Scores"]), "scores have a source"


def test_the_table_says_what_the_configurations_say():
    for name in PUBLISHED_CONFIGS:
        cfg = load_config(name)
        row = re.search(rf"^\| `{name}` \| (.*) \|$", PAGE, re.MULTILINE)[1].split(" | ")
        region = f"{cfg.test.search_size} pixels, factor {cfg.test.search_factor:g}"
        encoder = SIDES[cfg.model.encoder.type]
        assert row[:3] == [encoder, region, str(cfg.test.num_templates)]
        only_got = all("GOT10K" in one for one in cfg.data.train.datasets_name)
        assert (row[3] == "GOT-10k") == only_got
