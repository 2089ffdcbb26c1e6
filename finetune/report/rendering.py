"""Makes a page of facts: one file that needs nothing else."""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from finetune.report.answer import answer, percent
from finetune.report.evidence import Evidence, Gallery
from finetune.report.image_cards import Pictures, pictures_of
from finetune.report.plan_drawing import MOST_NEEDS, plan_drawing
from finetune.report.plots import short
from finetune.report.run_drawings import (
    calibration_curve,
    cost_bar,
    learning_curves,
    rate_curve,
    value_plot,
)
from finetune.report.trial_drawings import (
    DEPTH,
    RATE,
    colour_key,
    parallel_lines,
    searched,
    trial_map,
)
from finetune.support import format_seconds

_PAGE = Path(__file__).with_name("page")

# Pictures give way to what a search with hundreds of trials says.
MOST_BYTES = 1_950_000


def render(facts: Mapping[str, Any], evidence: Evidence | None) -> str:
    """The whole page.

    Args:
        facts: All that it shows, see `facts_of`.
        evidence: Holds the pictures.
    """
    gallery = evidence.gallery if evidence else Gallery()
    odd = [one.picture for odd in gallery.odd for group in odd.groups for one in group.images]
    taken = partial(pictures_of, gallery.pictures, facts["images"], gallery.maps, first=odd)
    pictures = taken()
    page = _page(facts, gallery, pictures)
    beyond = len(page.encode()) - MOST_BYTES
    if beyond <= 0:
        return page
    return _page(facts, gallery, taken(budget=max(0, pictures.size - beyond)))


def _page(facts: Mapping[str, Any], gallery: Gallery, pictures: Pictures) -> str:
    images = facts["images"]
    trials, monitor = facts["trials"], facts["monitor"]
    lines = parallel_lines(trials, monitor) if trials else None
    training = facts["training"]
    script = _file("report.js")
    return _template("report.html").render(
        facts=facts,
        axes=lines[1] if lines else [],
        others=[name for name in searched(trials) if name not in (DEPTH, RATE)],
        answer=answer(facts),
        pictures=pictures,
        gallery=gallery,
        wrong=[image for image in images if not image["right"]],
        unsure=[image for image in images if image["right"]],
        cells=_cells(facts),
        curves=learning_curves(training) if training else [],
        rates=rate_curve(training) if training else None,
        calibration=calibration_curve(facts["reliability"]) if facts["reliability"] else None,
        values=value_plot(facts["values"]) if facts["values"] else None,
        plan=plan_drawing(facts["figures"]["plan"])
        if facts["figures"] and facts["figures"]["plan"]
        else None,
        named=MOST_NEEDS,
        map=trial_map(trials, monitor) if trials else None,
        key=colour_key(trials, monitor) if trials else None,
        parallel=lines[0] if lines else None,
        bar=cost_bar(facts["cost"], format_seconds) if facts["cost"] else None,
        style=_file("report.css"),
        script=script,
        # Of scripts none but this one runs, whatever a name in the page may look like.
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render_pair(facts: Mapping[str, Any], pictures: Pictures) -> str:
    """The page of two runs.

    Args:
        facts: All that it shows.
        pictures: Of the images that changed sides, as far as there is room for them.
    """
    return _template("pair.html").render(facts=facts, pictures=pictures, style=_file("report.css"))


def render_page(name: str, **shown: Any) -> str:
    """A page with a script of its own, `NAME.js`, and the style of all.

    Args:
        name: Of the page.
        **shown: What it shows.
    """
    script = _file(f"{name}.js")
    return _template(f"{name}.html").render(
        **shown,
        style=_file("report.css"),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _cells(facts: Mapping[str, Any]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """The images that are shown, by true class and what was said."""
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    if facts["quality"] and facts["quality"]["matrix"]:
        for image in facts["images"]:
            cells.setdefault((image["true"], image["said"]), []).append(image)
    return cells


@cache
def _template(name: str) -> Any:
    import jinja2  # late: it is needed once a run

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {
        "percent": percent,
        "short": short,
        "seconds": format_seconds,
        "pretty": lambda value: json.dumps(value, indent=2),
    }
    return environment.get_template(name)


@cache
def _file(name: str) -> str:
    """A part of the page, which is put into it as it is."""
    return (_PAGE / name).read_text(encoding="utf-8")
