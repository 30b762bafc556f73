"""Readers of reference crop maps, one module a map. To add one, write a module (`class_map.Product`) and list it."""

from pathlib import Path
from typing import Final

from pipeline.references import eucropmap, worldcereal
from pipeline.references.class_map import Product

AUTO: Final = "auto"  # the product that recognises the path
PRODUCTS: Final[dict[str, Product]] = {"eucropmap": eucropmap, "worldcereal": worldcereal}


def product_of(path: Path, name: str) -> Product:
    """Return the product of a name; of "auto", the one that recognises the path."""
    if name != AUTO:
        return PRODUCTS[name]
    return next((product for product in PRODUCTS.values() if product.recognises(path)), eucropmap)
