"""Draw the Mermaid diagrams of the manual as SVG while mkdocs builds it.

The theme would have the reader's browser fetch Mermaid from a server elsewhere. Two kinds are drawn, in
the part of Mermaid's language that the manual uses: sequence diagrams, and the state diagram of a run.
Sites that host the repository draw the same blocks themselves.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, Final

FENCE: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)

LANE: Final = 180  # units between two participants
STEP: Final = 30  # units between two messages
HALF_WIDTH: Final = 52  # units, of a box
HALF_HEIGHT: Final = 16
DOT: Final = 6  # units, the radius of the start
FAR: Final = 300  # units; an edge back from farther is a bow

PLACES: Final[Mapping[str, tuple[int, int]]] = {
    "[*]": (20, 150),
    "QUEUED": (150, 150),
    "STARTING": (350, 150),
    "RUNNING": (550, 150),
    "SUCCEEDED": (750, 110),
    "FAILED": (750, 190),
    "ERROR": (350, 30),
    "CANCELLED": (350, 290),
}
"""Where each status stands in the state diagram."""

HEAD: Final = (
    '<svg class="diagram" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
    ' style="max-width:100%" font-family="sans-serif" font-size="12" fill="currentColor"'
    ' stroke="none"><title>{title}</title><defs><marker id="{title}" viewBox="0 0 8 8" refX="8" refY="4"'
    ' markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
)


class DiagramError(ValueError):
    """A line of a diagram is not in the part of Mermaid's language that is drawn here."""


def on_page_markdown(markdown: str, **_page: Any) -> str:
    """Replace each Mermaid block of a page by its drawing; mkdocs calls this."""
    return FENCE.sub(lambda fence: draw(fence[1]), markdown)


def draw(source: str) -> str:
    """Draw a diagram as one line of SVG.

    Raises:
        DiagramError: the kind of the diagram or one of its lines is unknown.
    """
    kind, *lines = [line.strip() for line in source.splitlines() if line.strip()]
    match kind:
        case "sequenceDiagram":
            return _sequence(lines)
        case "stateDiagram-v2":
            return _states(lines)
    raise DiagramError(f"No diagram of the kind {kind!r} is drawn.")


def _sequence(lines: list[str]) -> str:
    lanes: dict[str, int] = {}
    names: list[str] = []
    steps: list[str] = []
    height = 3 * STEP
    for line in lines:
        if found := re.fullmatch(r"participant (\w+) as (.+)", line):
            lanes[found[1]] = LANE // 2 + LANE * len(lanes)
            names.append(found[2])
            continue
        if found := re.fullmatch(r"(\w+)(-->>|->>)(\w+): (.+)", line):
            start, end = lanes[found[1]], lanes[found[3]]
            steps.append(_arrow(start, height, end, height, "sequence", dashed=found[2] == "-->>"))
            steps.append(_text((start + end) // 2, height - 5, found[4]))
        elif found := re.fullmatch(r"Note over (\w+): (.+)", line):
            steps.append(_text(lanes[found[1]], height - 5, f"({found[2]})"))
        else:
            raise DiagramError(f"This line of a sequence diagram is not drawn: {line}")
        height += STEP
    rails = [_arrow(x, 2 * STEP - HALF_HEIGHT, x, height, "", faint=True) for x in lanes.values()]
    boxes = [_box(x, STEP, name) for x, name in zip(lanes.values(), names, strict=True)]
    head = HEAD.format(width=LANE * len(lanes), height=height + STEP // 2, title="sequence")
    return "".join([head, *rails, *boxes, *steps, "</svg>"])


def _states(lines: list[str]) -> str:
    moves = []
    for line in lines:
        found = re.fullmatch(r"(\S+) --> (\S+?)(?:: (.+))?", line)
        if found is None or not {found[1], found[2]} <= set(PLACES):
            raise DiagramError(f"This line of a state diagram is not drawn: {line}")
        if found[2] != "[*]":
            moves.append((found[1], found[2], found[3] or ""))
    boxes = [_box(*PLACES[state], state) for state in PLACES if state != "[*]"]
    dot = f'<circle cx="{PLACES["[*]"][0]}" cy="{PLACES["[*]"][1]}" r="{DOT}"/>'
    edges = [_move(PLACES[source], PLACES[target], label) for source, target, label in moves]
    return "".join([HEAD.format(width=820, height=320, title="states"), *boxes, dot, *edges, "</svg>"])


def _move(source: tuple[int, int], target: tuple[int, int], label: str) -> str:
    """An edge between two states: to the right above the middle, back below it, far back in a bow."""
    (x1, y1), (x2, y2) = source, target
    if y1 == y2 and x2 < x1 - FAR:
        path = f"M{x1} {y1 + HALF_HEIGHT}C{x1} {y1 + 90} {x2} {y2 + 90} {x2} {y2 + HALF_HEIGHT + 2}"
        return _path(path, "states") + _text((x1 + x2) // 2 + 45, y1 + 86, label)
    if y1 == y2:
        side = 1 if x2 > x1 else -1
        begin = DOT if source == PLACES["[*]"] else HALF_WIDTH
        ends = (x1 + side * begin, x2 - side * HALF_WIDTH)
        shift = 0 if begin == DOT else -6 * side
        line = _arrow(ends[0], y1 + shift, ends[1], y2 + shift, "states")
        return line + _text(sum(ends) // 2, y1 + (-11 if side > 0 else 19), label)
    if x2 > x1 and x2 == PLACES["SUCCEEDED"][0]:
        line = _arrow(x1 + HALF_WIDTH, y1, x2 - HALF_WIDTH, y2, "states")
        return line + _text((x1 + x2) // 2, (y1 + y2) // 2 - 6, label)
    side = 1 if y2 > y1 else -1
    landing = x2 + (x1 - x2) // 6
    line = _arrow(x1, y1 + side * HALF_HEIGHT, landing, y2 - side * HALF_HEIGHT, "states")
    beside = 24 if landing >= x1 else -42 * side
    return line + _text(x1 + (landing - x1) // 3 + beside, y1 + (y2 - y1) // 3 + 4, label)


def _box(x: int, y: int, name: str) -> str:
    corner = f'x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}"'
    return f'<rect {corner} rx="6" fill="none" stroke="currentColor"/>{_text(x, y + 4, name)}'


def _text(x: int, y: int, words: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{escape(words)}</text>'


def _arrow(
    x1: int, y1: int, x2: int, y2: int, marker: str, *, dashed: bool = False, faint: bool = False
) -> str:
    return _path(f"M{x1} {y1}L{x2} {y2}", marker, dashed=dashed, faint=faint)


def _path(path: str, marker: str, *, dashed: bool = False, faint: bool = False) -> str:
    style = ' stroke-dasharray="5 4"' if dashed else ' opacity="0.3"' if faint else ""
    end = f' marker-end="url(#{marker})"' if marker else ""
    return f'<path d="{path}" fill="none" stroke="currentColor"{style}{end}/>'
