"""What goes into the four stages, and what comes out: plain arrays, files decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atelier.media.boxes import Box

Pixels = NDArray[np.uint8]
Source = Literal["mask", "box", "point", "analysis", "heuristic"]
"""What a place was taken from: the caller's mask, box or point, the analyst's box, or a guess."""


@dataclass
class StageReport:
    """What a stage did, for the answer.

    Attributes:
        mode: ``neural``, ``classical``, or ``given`` where the caller brought the result.
        models: facts of the networks that worked, by part: name, digest, licence, quantisation.
        seconds: by step.
        memory: bytes by load stage and kind; nothing is invented where there is no GPU.
        warnings: sentences.
        facts: whatever else the stage tells.
    """

    mode: Literal["neural", "classical", "given"]
    models: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Light:
    """Where the light comes from.

    Attributes:
        direction: unit vector [x, y] in the picture from its middle towards the light, y downwards; (0, 0): from
            nowhere in particular.
        softness: 0 hard to 1 diffuse.
        colour: of the light, sRGB 0..255.
        description: in words.
    """

    direction: tuple[float, float] = (0.0, 0.0)
    softness: float = 0.5
    colour: tuple[int, int, int] = (255, 255, 255)
    description: str = ""


@dataclass(frozen=True)
class Scene:
    """What the analyzer found. `to_json` and `from_json` of `atelier.compositing.scene` are exact inverses.

    Attributes:
        text: for the user, in the language that was asked for.
        prompt: for the synthesizer, English: the whole scene with the object in it.
        light: of the scene.
        palette: its main colours, ``#rrggbb``, the largest share first.
        mood, camera, surfaces: in words.
        box: where the object might stand, left, top, right, bottom in 0..1000 of width and height; None: no proposal.
        language: of the text.
        report: of the stage.
    """

    text: str
    prompt: str
    light: Light
    palette: tuple[str, ...]
    mood: str
    camera: str
    surfaces: str
    box: tuple[float, float, float, float] | None
    language: str
    report: StageReport


@dataclass(frozen=True)
class AnalysisJob:
    """A scene to read.

    Attributes:
        background: RGB [H, W, 3].
        reference: RGB or RGBA of the object, so that the prompt can name it; None: it is not described.
        prompt: the user's, in any language; empty: none.
        language: of the text.
        wants_box: whether a place is to be proposed; not where the caller has one.
        seed: of sampling; None: drawn and reported where sampling is on.
        check: called between tokens; raises to stop.
    """

    background: Pixels
    reference: Pixels | None = None
    prompt: str = ""
    language: str = "en"
    wants_box: bool = True
    seed: int | None = None
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class ExtractionJob:
    """An object to cut out.

    Attributes:
        reference: RGB [H, W, 3], or RGBA, whose alpha then is the answer.
        box: left, top, right, bottom, pixels of the reference; None: none.
        point: x, y, pixels, on the object; None: none.
        check: called between steps; raises to stop.
    """

    reference: Pixels
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Extraction:
    """An object.

    Attributes:
        object: RGBA [h, w, 4], cut to where alpha is not 0, alpha not premultiplied, colours without the background.
        report: of the stage; its facts have ``box``, where in the reference it was.
    """

    object: Pixels
    report: StageReport


@dataclass(frozen=True)
class PlacementJob:
    """An object that needs a place. Of several the first wins: mask, box, point (with scale), scene's box, a guess.

    Attributes:
        background: RGB [H, W, 3].
        object: RGBA [h, w, 4].
        scene: for light, colours and the proposed box; None: found from the background where needed.
        mask: uint8 [H, W], not 0 where the object shall be.
        box: left, top, right, bottom, pixels of the background: the object is fitted into it, resting on its bottom.
        point: x, y, pixels: the middle of the object's lower edge.
        scale: the object's height as a share of the background's, 0 < scale <= 1; None: by the background.
    """

    background: Pixels
    object: Pixels
    scene: Scene | None = None
    mask: Pixels | None = None
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Placement:
    """Where the object goes. All masks are uint8 [H, W] of the background, 0 or 255 but for `object_mask`.

    Attributes:
        box: of the object.
        crop: of the background, what the synthesizer looks at.
        object_mask: the object's alpha, 0..255.
        fill_mask: what may change: the object, its seam, room for a shadow.
        pre_composite: RGB [H, W, 3]: the object pasted, its colours matched; as the background outside the fill mask.
        source: what the place was taken from.
        report: of the stage.
    """

    box: Box
    crop: Box
    object_mask: Pixels
    fill_mask: Pixels
    pre_composite: Pixels
    source: Source
    report: StageReport


@dataclass(frozen=True)
class SynthesisProgress:
    """How far a picture is.

    Attributes:
        stage: ``encoding``, ``denoising`` or ``decoding``.
        step, of: done, and in all.
        seconds: since the work began.
        preview: RGB of the crop as it is now, small; None: none was asked for.
    """

    stage: str
    step: int
    of: int
    seconds: float
    preview: Pixels | None = None


@dataclass(frozen=True)
class SynthesisJob:
    """An object to set in.

    Attributes:
        background: RGB [H, W, 3].
        object: RGBA [h, w, 4].
        placement: its place; the report is not read.
        scene: for light and prompt; None: neither is known.
        prompt: the user's; empty: the scene's.
        seed, steps, guidance_scale, strength: as in the settings.
        preview_every: steps between previews; 0: none.
        check: called before every step; raises to stop.
        on_progress: called as the work goes on.
    """

    background: Pixels
    object: Pixels
    placement: Placement
    scene: Scene | None = None
    prompt: str = ""
    seed: int | None = None
    steps: int = 28
    guidance_scale: float = 30.0
    strength: float = 1.0
    preview_every: int = 0
    check: Callable[[], None] = lambda: None
    on_progress: Callable[[SynthesisProgress], None] = lambda _: None


@dataclass(frozen=True)
class Synthesis:
    """The picture.

    Attributes:
        image: RGB [H, W, 3], the background bit for bit outside the fill mask.
        metrics: of `atelier.compositing.metrics.measure`.
        seed: that was used; None where nothing was drawn.
        prompt: that was used; empty where none was.
        report: of the stage.
    """

    image: Pixels
    metrics: Mapping[str, float | None]
    seed: int | None
    prompt: str
    report: StageReport
