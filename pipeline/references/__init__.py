"""Readers of reference crop maps, one module a map. To add one, write such a module (`class_map.Product`), list it."""

from pathlib import Path
from typing import Final

from pipeline.references import eucropmap, worldcereal
from pipeline.references.class_map import Product

AUTO: Final = "auto"  # the product is told by what the path is
PRODUCTS: Final[dict[str, Product]] = {"eucropmap": eucropmap, "worldcereal": worldcereal}


def product_of(path: Path, name: str) -> Product:
    """The product of that name; of "auto", that which recognises the path."""
    if name != AUTO:
        return PRODUCTS[name]
    return next((product for product in PRODUCTS.values() if product.recognises(path)), eucropmap)
