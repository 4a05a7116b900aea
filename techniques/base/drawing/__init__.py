"""From results to what can be looked at: pictures (PIL), charts (SVG) and notebook HTML; knows neither torch nor gradio."""

from techniques.base.drawing.charts import curve_chart, histogram_chart, predictions_chart, scatter_chart
from techniques.base.drawing.colour import SIGNED_MAPS, UNSIGNED_MAPS, colour_table, default_map, gradient_css
from techniques.base.drawing.film import film_frames, gif_bytes, mp4_bytes
from techniques.base.drawing.html import to_html, to_svg
from techniques.base.drawing.pictures import (
    Scale,
    common_scales,
    enlarge,
    explain,
    gallery_scales,
    heatmap_image,
    is_constant,
    item_image,
    magnification,
    overlay,
    picture_image,
    png_bytes,
    scale_of,
)
from techniques.base.drawing.sheets import contact_sheet, draw, drawn, file_name, outer_positions, tiles

__all__ = [
    "SIGNED_MAPS", "UNSIGNED_MAPS", "colour_table", "default_map", "gradient_css",
    "Scale", "common_scales", "enlarge", "explain", "gallery_scales", "heatmap_image", "is_constant", "item_image",
    "magnification", "overlay", "picture_image", "png_bytes", "scale_of",
    "film_frames", "gif_bytes", "mp4_bytes", "contact_sheet", "draw", "drawn", "file_name", "outer_positions", "tiles",
    "curve_chart", "histogram_chart", "predictions_chart", "scatter_chart", "to_html", "to_svg",
]  # fmt: skip
