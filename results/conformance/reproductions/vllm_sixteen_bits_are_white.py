"""vLLM 0.32.0: a 16-bit gray PNG (scans, X-rays) is clipped at 255 of 65535: everything not black is white."""

import io

from PIL import Image
from vllm.multimodal.media.image import ImageMediaIO

file = io.BytesIO()
Image.new("I;16", (2, 2), 77 * 257).save(file, "PNG")
image = ImageMediaIO().load_bytes(file.getvalue()).media
assert image.getpixel((0, 0)) == (77, 77, 77), image.getpixel((0, 0))
