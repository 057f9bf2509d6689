"""The files of `inspect --out`: the result, layers and lifetimes as CSV, the live set drawn."""

from __future__ import annotations

import pandas as pd

from dataflow_sim.report.network_plot import network_pictures
from dataflow_sim.results_of_inspection import InspectResult, Shape


def network_files(result: InspectResult) -> dict[str, bytes]:
    """File names and contents of the output directory."""
    return {
        "result.json": result.json_text().encode(),
        "layers.csv": _csv(layer_frame(result)),
        "lifetimes.csv": _csv(lifetime_frame(result)),
        **{f"live_set.{kind}": picture for kind, picture in network_pictures(result).items()},
    }


def layer_frame(result: InspectResult) -> pd.DataFrame:
    """One row a layer: shapes, counts in elements, live set, operations per byte.

    A ratio is empty where nothing is fetched.
    """
    return pd.DataFrame.from_records(
        [
            {
                "layer": layer.name,
                "op": layer.op,
                "folded": layer.folded,
                **_extents("input", layer.input_shape),
                **_extents("output", layer.output_shape),
                "macs": layer.macs,
                "weight_elements": layer.weight_elements,
                "vector_elements": layer.vector_elements,
                "input_elements": layer.input_elements,
                "output_elements": layer.output_elements,
                "live_elements": layer.live_elements,
                "operations_per_weight_byte": layer.operations_per_weight_byte,
                "operations_per_byte_moved": layer.operations_per_byte_moved,
            }
            for layer in result.layers
        ]
    )


def lifetime_frame(result: InspectResult) -> pd.DataFrame:
    """One row a map in order of first write: from which layer to which, shape, elements.

    `overwritten` says that the map gives its place to the last layer's result, in whose live
    set it is not.
    """
    return pd.DataFrame.from_records(
        [
            {
                "map": life.tensor,
                "kind": life.kind,
                "first_layer": life.first_layer,
                "last_layer": life.last_layer,
                "first": life.first,
                "last": life.last,
                **_extents("map", life.shape),
                "elements": life.elements,
                "overwritten": int(life.overwritten),
            }
            for life in result.lifetimes
        ]
    )


def _extents(what: str, shape: Shape) -> dict[str, int]:
    names = ("batch", "channels", "rows", "columns")
    return {f"{what}_{name}": extent for name, extent in zip(names, shape, strict=True)}


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()
