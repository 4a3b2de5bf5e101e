"""Rectangles of pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Box:
    """A rectangle of whole pixels: rows ``top`` to ``bottom - 1``, columns ``left`` to ``right - 1``.

    Raises:
        ValueError: ``height`` or ``width`` is negative.
    """

    top: int
    left: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            raise ValueError(f"a box has no negative size, got height {self.height} and width {self.width}")

    @property
    def bottom(self) -> int:
        """The first row below the box."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right of the box."""
        return self.left + self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box's pixels in an array [H, W, ...] that holds the whole box (see ``clip``)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Box(top, left, max(self.bottom, other.bottom) - top, max(self.right, other.right) - left)

    def grow(self, pixels: int) -> Box:
        """The box with ``pixels`` more on each of its four sides; it may leave the picture (see ``clip``)."""
        return Box(self.top - pixels, self.left - pixels, self.height + 2 * pixels, self.width + 2 * pixels)

    def clip(self, height: int, width: int) -> Box:
        """The part inside a picture of ``height`` x ``width`` pixels; of area 0 where there is none."""
        top, left = min(max(self.top, 0), height), min(max(self.left, 0), width)
        bottom, right = min(max(self.bottom, top), height), min(max(self.right, left), width)
        return Box(top, left, bottom - top, right - left)

    def contains(self, other: Box) -> bool:
        """Whether every row and column of ``other`` lies in this box."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and other.bottom <= self.bottom
            and other.right <= self.right
        )
