"""Layer styles of QGIS, which reads FILE.qml when it opens FILE.tif."""

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

_HEAD: Final = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def classes_style(names: Sequence[str], colours: Sequence[str]) -> str:
    """Write the style of a band of classes, each with a colour and a name; other values are transparent.

    Args:
        names: of the values from 0 on.
        colours: of the same values, such as "#0072B2".
    """
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(names, colours, strict=True)):
        ElementTree.SubElement(
            palette, "paletteEntry", value=str(value), color=colour, alpha="255", label=name.replace("_", " ")
        )
    ElementTree.indent(root)
    return _HEAD + ElementTree.tostring(root, encoding="unicode") + "\n"
