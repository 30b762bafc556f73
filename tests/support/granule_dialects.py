"""Other layouts of granules of the same product, for tests."""

from pathlib import Path

import h5py
import numpy as np

FIELDS = "HDFEOS/GRIDS/VNP_Grid_VNP15A2H/Data Fields"


def restore(path: Path, name: str, **storage: object) -> None:
    """Store a layer again, in another way or with other values (`data`), with its attributes."""
    with h5py.File(path, "r+") as file:
        fields = file[FIELDS]
        values = {"data": fields[name][:], **storage}
        attributes = {key: value for key, value in fields[name].attrs.items() if key != "DIMENSION_LIST"}
        del fields[name]
        layer = fields.create_dataset(name, **values)
        for key, value in attributes.items():
            layer.attrs[key] = value


def set_attributes(path: Path, place: str = "/", **attributes: object) -> None:
    """Write attributes, or delete those that are None."""
    with h5py.File(path, "r+") as file:
        for key, value in attributes.items():
            if key in file[place].attrs:
                del file[place].attrs[key]
            if value is not None:
                file[place].attrs[key] = value


def replace_structure(path: Path, old: str, new: str) -> None:
    """Change StructMetadata.0."""
    with h5py.File(path, "r+") as file:
        group = file["HDFEOS INFORMATION"]
        text = group["StructMetadata.0"][()].decode()
        assert old in text
        del group["StructMetadata.0"]
        group["StructMetadata.0"] = np.bytes_(text.replace(old, new))


def make_version_1(path: Path) -> None:
    """Change a granule to the older collection: scalar texts, `offset`, other spellings, 100 rows a chunk, no XDim."""
    with h5py.File(path, "r+") as file:
        names = [name for name in file[FIELDS] if name != "Projection"]
    for name in names:
        restore(path, name, chunks=(100, 2400), compression="gzip", compression_opts=8, fillvalue=0)
    set_attributes(
        path,
        HORIZONTALTILENUMBER=None,
        VERTICALTILENUMBER=None,
        HorizontalTileNumber="18",
        VerticalTileNumber="04",
        VersionID="001",
        PlatformShortName="NPP",
    )
    with h5py.File(path, "r+") as file:
        for name in names:
            attributes = file[FIELDS][name].attrs
            del attributes["_FillValue"], attributes["grid_mapping"]
            attributes["_Fillvalue"] = np.uint8(255)
            attributes["valid_range"] = "0-100 \n"
            attributes["long_name"] = "FPAR"
            if "scale_factor" in attributes:
                del attributes["add_offset"]
                attributes["offset"] = 0.0
                attributes["scale_factor"] = float(attributes["scale_factor"][0])
        del file[FIELDS]["Projection"]
        grid = file["HDFEOS/GRIDS/VNP_Grid_VNP15A2H"]
        del grid["XDim"], grid["YDim"]
        file.move(grid.name, "HDFEOS/GRIDS/VIIRS_Grid_LAIFPAR")
    replace_structure(path, "VNP_Grid_VNP15A2H", "VIIRS_Grid_LAIFPAR")
