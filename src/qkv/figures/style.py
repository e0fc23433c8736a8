"""The look that all figures share, and how a figure becomes files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from qkv.files import replacing

PNG_DPI = 150
INK = "#222222"
MUTED = "#767676"  # the lightest grey that still reads on white (contrast 4.5)

# Eight colours of Okabe and Ito ("Color Universal Design", 2008), then a light grey and a wine
# red that stay apart from them, and from each other, under simulated colour blindness.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
    "#CCCCCC",
    "#701C3C",
)
BLUE, ORANGE, GREEN, PINK, SKY, VERMILLION = PALETTE[:6]

# DejaVu Sans comes with matplotlib, so figures are the same everywhere; the others serve class
# names in scripts that it lacks, where the machine has them.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
)

_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": PNG_DPI,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "path.simplify": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "qkv",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with the house's settings, whatever the caller's matplotlib is set to."""
    installed = set(fontManager.get_font_names())
    fonts = [name for name in _FONTS if name in installed]
    settings = {**_SETTINGS, "font.family": "sans-serif", "font.sans-serif": fonts}
    with matplotlib.style.context(["default", settings]), warnings.catch_warnings():
        # A script without a font shows as boxes; that must not stop or clutter a training run.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        yield


def new_figure(width_inches: float, height_inches: float, *, layout: bool = True) -> Figure:
    """An empty figure that belongs to no window; `layout` makes room for labels by itself."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained" if layout else None)
    FigureCanvasAgg(figure)
    return figure


class Sheet:
    """An empty figure, placed upon in inches from its left and its top."""

    def __init__(self, width: float, height: float) -> None:
        self.figure: Figure = new_figure(width, height, layout=False)
        self._width, self._height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame lies there."""
        wide, high = self._width, self._height
        return self.figure.add_axes(
            (left / wide, 1 - (top + height) / high, width / wide, height / high)
        )

    def write(
        self, left: float, middle: float, text: str, va: str = "center_baseline", **look: Any
    ) -> None:
        """A line of text that begins at `left`; `va` says what of it is `middle` from the top."""
        self.figure.text(left / self._width, 1 - middle / self._height, text, va=va, **look)


def settle(figure: Figure) -> Figure:
    """Lay `figure` out once and for all, so that drawing it twice gives the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def class_colours(classes: int) -> list[str]:
    """One colour a class: the palette up to ten, an even ramp of viridis beyond."""
    if classes <= len(PALETTE):
        return list(PALETTE[:classes])
    ramp = mpl.colormaps["viridis"]
    return [to_hex(ramp(0.97 * number / (classes - 1))) for number in range(classes)]


def ink_on(colour: npt.NDArray[np.float64]) -> str:
    """Black or white, whichever stands out more on the RGB `colour` (WCAG relative luminance)."""
    parts = np.where(
        colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4
    )
    return "white" if float(parts @ np.array([0.2126, 0.7152, 0.0722])) < 0.179 else "black"


def short_name(name: str, limit: int) -> str:
    """`name` on one line of at most `limit` characters, cut in the middle.

    The middle goes because names of one data set often share their beginning.
    """
    line = " ".join("".join(part if part.isprintable() else " " for part in name).split())
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 2
    return f"{line[: limit - 1 - tail]}…{line[len(line) - tail :]}"


def percent(share: float, decimals: int = 0) -> str:
    """A share of 1 as a percentage for people; 100 % only where it is all of it."""
    text = f"{100 * share:.{decimals}f}"
    if share < 1 and float(text) >= 100:
        return f"> {100 - 10.0**-decimals:.{decimals}f} %"
    return f"{text} %"


def bare(axes: Axes) -> None:
    """Take ticks and frame from `axes`, leaving its labels."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def note_at(axes: Axes, text: str, point: Any, offset: tuple[float, float], **look: Any) -> None:
    """Write beside a point, `offset` in typographic points from it."""
    axes.annotate(text, point, offset, textcoords="offset points", **look)


def tilt_names(axes: Axes, degrees: int) -> None:
    """Let the names below an axis hang at 45 or 90 degrees, each ending at its tick."""
    for label in axes.get_xticklabels():
        label.set(rotation=degrees, rotation_mode="anchor", ha="right")
        label.set_verticalalignment("center" if degrees == 90 else "top")


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.png` and `folder/name.svg`, each complete or not at all.

    The same figure gives the same bytes: no date, no random identifiers.

    Raises:
        ValueError: `name` is not a plain file name.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"{name!r} is not a plain file name")
    written: list[Path] = []
    for kind in ("png", "svg"):
        target = folder / f"{name}.{kind}"
        with replacing(target) as temporary:
            temporary.write_bytes(figure_bytes(figure, kind, title=name))
        written.append(target)
    return written


def figure_bytes(figure: Figure, kind: str, *, title: str) -> bytes:
    """A figure as a "png" or "svg" file; the same one gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Title": title, **({"Date": None} if kind == "svg" else {})}
    with house_style():
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def short_integer(value: int, limit: int = 24) -> str:
    """`value` in at most `limit` characters: whole, by its ends, or by its power of ten.

    `1,234,567`, `123456…345678`, `−1.23e+40`; the minus is the typographer's, as wide as a plus.
    """
    sign, digits = "−" if value < 0 else "", str(abs(value))
    for text in (f"{abs(value):,}", digits):
        if len(sign + text) <= limit:
            return sign + text
    ends = (limit - len(sign) - 1) // 2
    if ends >= 6:
        return f"{sign}{digits[:ends]}…{digits[-ends:]}"
    return f"{sign}{abs(Decimal(value)):.2e}"
