"""Limit the work on a slide to outlined regions, annotations that QuPath exports to GeoJSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from nucleiseg.data.readers.geojson import read_polygons
from nucleiseg.errors import InputError
from nucleiseg.slides.tissue import TissueMask, cell_pixels
from nucleiseg.writers.origin import file_digest


@dataclass(frozen=True)
class Regions:
    """Polygons on a slide.

    Attributes:
        polygons: for each its rings, the shell first, then holes: (P, 2) float32 x, y in pixels of level 0.
        digest: of the file.
    """

    polygons: tuple[tuple[np.ndarray, ...], ...]
    digest: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a GeoJSON file of areas in pixels of level 0.

        Raises:
            InputError: if it is not GeoJSON, or has no area.
        """
        polygons = tuple(
            rings
            for polygon in read_polygons(path)
            if (rings := tuple(ring.astype(np.float32) for ring in polygon if len(ring) >= 3))
        )
        if not polygons:
            raise InputError(f"{path} has no polygon: draw an annotation with an area in QuPath, and export it again.")
        return cls(polygons, file_digest(path))

    def mask(self, size: tuple[int, int], mpp: float | None) -> TissueMask:
        """Return the cells that regions touch.

        Args:
            size: (height, width) of level 0.
            mpp: micrometers per pixel of level 0; None if unknown.
        """
        cell = cell_pixels(mpp)
        cells = np.zeros((-(-size[0] // cell), -(-size[1] // cell)), np.uint8)
        for shell, *holes in self.polygons:
            own = np.zeros_like(cells)
            # fillPoly draws every cell that an edge crosses: a hole is drawn smaller by its edge
            cv2.fillPoly(own, [np.floor(shell / cell).astype(np.int32)], 1)
            for hole in holes:
                corners = np.floor(hole / cell).astype(np.int32)
                cv2.fillPoly(own, [corners], 0)
                cv2.polylines(own, [corners], True, 1)
            cells |= own
        return TissueMask(cells > 0, cell)

    def contains(self, x: float, y: float) -> bool:
        """Return whether a point, in pixels of level 0, lies in a region and in none of its holes."""
        return any(
            cv2.pointPolygonTest(shell, (x, y), False) >= 0
            and not any(cv2.pointPolygonTest(hole, (x, y), False) > 0 for hole in holes)
            for shell, *holes in self.polygons
        )
