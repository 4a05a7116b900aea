"""Colour maps as tables of 256 colours.

viridis, magma and inferno: van der Walt and Smith 2015 (CC0); turbo: Mikhailov 2019 (Apache-2.0); each kept as 33 anchor
colours that come within 2/255 of the published table. The diverging maps are ColorBrewer's RdBu and PRGn (Brewer and
Harrower, Apache-2.0) with a pure white centre, so that zero has no colour.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ANCHORS = {
    "viridis": "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21908c"
    "1f978b1f9f8821a68527ad8131b57b3ebc744dc26c5cc8636ece5882d34d95d840aadc32c0df25d5e21aeae51afde725",
    "magma": "0000040303120a0822130d341d114729115a36106b440f7650127c5d177f691c817621818226818f2a819c2e7fa9337db6367a"
    "c33b75cf4070db476ae65164ee5c5ef46a5cf9785dfb8861fd9668fea571feb47bfec287fed194fde0a1fceeb0fcfdbf",
    "inferno": "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b56106e63156e70196e7d1e6d89226a962766a32c61af315bbb3654"
    "c63d4dd14545da4f3ce35932eb6529f1721ef67f14f98c0afb9b06fcaa0ffbba1ff9c932f5d949f2e865f3f586fcffa4",
    "turbo": "30123b392a734040a24456c7466be34680f64293ff37a7fa28bbec1dccd918dcc31ee8b031f2994cf97e6bfe648aff4ca2fc3c"
    "b8f735cced34dee037edd03af7c03afdad35fe982cfb8022f56818ec520fe14109d23105c12302ac1701950d017a0403",
    "grey": "000000ffffff",
    "blue-red": "0530612166ac4393c392c5ded1e5f0fffffffddbc7f4a582d6604db2182b67001f",
    "purple-green": "40004b762a839970abc2a5cfe7d4e8ffffffd9f0d3a6dba05aae611b783700441b",
}  # fmt: skip
SIGNED_MAPS = ("blue-red", "purple-green")
UNSIGNED_MAPS = tuple(name for name in _ANCHORS if name not in SIGNED_MAPS)


def default_map(signed: bool) -> str:
    """The map for a heat map: one that diverges from white for signed values, one that rises from black for others."""
    return "blue-red" if signed else "inferno"


@lru_cache(maxsize=None)
def colour_table(name: str) -> np.ndarray:
    """The 256 colours of a map, uint8 `[256, 3]`, read-only. KeyError when there is no such map.

    A signed map has its white centre at both 127 and 128, the two levels next to zero.
    """
    anchors = np.frombuffer(bytes.fromhex(_ANCHORS[name]), np.uint8).reshape(-1, 3)
    place = np.linspace(-1, 1, 256)
    if name in SIGNED_MAPS:
        place = np.sign(place) * (np.abs(place) - 1 / 255) * 255 / 254
    position = (place + 1) / 2 * (len(anchors) - 1)
    table = np.stack([np.interp(position, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)], 1)
    table = np.rint(table).astype(np.uint8)
    table.setflags(write=False)
    return table


def gradient_css(name: str) -> str:
    """The map from its lowest to its highest colour as a CSS gradient, for a scale beside a picture."""
    stops = colour_table(name)[np.linspace(0, 255, 17).round().astype(int)]
    return f"linear-gradient(90deg, {', '.join(f'#{red:02x}{green:02x}{blue:02x}' for red, green, blue in stops)})"
