"""What more images would bring, drawn: measured points, and the curve that goes on from them."""

from collections.abc import Mapping
from typing import Any

from finetune.report.plots import Drawing, Scale, around

# Classes of the table below it.
MOST_NEEDS = 30

_WIDTH, _HEIGHT = 520.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 24.0, 44.0, 48.0


def plan_drawing(plan: Mapping[str, Any]) -> Drawing:
    """Accuracy over the number of images; what is not measured is dashed.

    Args:
        plan: See `ImagePlan.to_dict`.
    """
    measured, curve, expected = plan["measured"], plan["curve"], plan["expected"]
    now, last = expected[0], expected[-1]
    drawing = Drawing(
        *(_WIDTH, _HEIGHT),
        f"Accuracy over the number of images: {now['accuracy']:.3f} with {now['images']:,}, "
        f"{last['accuracy']:.3f} expected with {last['images']:,}",
        "plan",
    )
    low, high = around([end for one in [*measured, *curve] for end in one["interval"]])
    x = Scale(curve[0]["images"], last["images"], _LEFT, _WIDTH - _RIGHT, log=True)
    y = Scale(max(low, 0.0), min(high, 1.0), _HEIGHT - _BOTTOM, _TOP)
    there = [one["images"] for one in measured[:2]]
    named = [*there, *(one["images"] for one in expected)]
    drawing.axes(x, y, "images that a head is solved on", "Accuracy", named=named)
    place = x(now["images"])
    drawing.add(
        '<line class="phase" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, y.start, y.end
    )
    drawing.text(place - 6, y.end - 2, "there are", "phase", "end")
    drawing.text(place + 6, y.end - 2, "more", "phase")
    # The curve is drawn on both sides of the images that there are, and passes through there.
    before = [one for one in curve if one["images"] < now["images"]] + [now]
    beyond = [now, *(one for one in curve if one["images"] > now["images"])]
    edges = [
        (x(one["images"]), y(one["interval"][end]))
        for ones, end in ((beyond, 0), (beyond[::-1], 1))
        for one in ones
    ]
    drawing.add('<polygon class="band" points="{}"/>', " ".join(f"{a:g},{b:g}" for a, b in edges))
    for ones, name in ((before, "line validation"), (beyond, "line expected")):
        drawing.line([(x(one["images"]), y(one["accuracy"])) for one in ones], name)
    for kind, ones in (("validation", measured), ("expected", expected)):
        for one in ones:
            across, (bottom, top) = x(one["images"]), one["interval"]
            drawing.add(
                '<line class="bar" x1="{}" x2="{}" y1="{}" y2="{}"/>',
                *(across, across, y(bottom), y(top)),
            )
            drawing.add(
                '<circle class="dot {}" cx="{}" cy="{}" r="4.2"><title>{:,} images: {:.1%}, '
                "{:.1%} to {:.1%}</title></circle>",
                *(kind, across, y(one["accuracy"]), one["images"], one["accuracy"], bottom, top),
            )
    return drawing
