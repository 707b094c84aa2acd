"""transformers 5.23.0: a 16-bit gray PNG (scans, X-rays) is clipped at 255 of 65535: everything not black is white."""

import base64
import io

from PIL import Image
from transformers.image_utils import load_image

file = io.BytesIO()
Image.new("I;16", (2, 2), 77 * 257).save(file, "PNG")
image = load_image(base64.b64encode(file.getvalue()).decode())
assert image.getpixel((0, 0)) == (77, 77, 77), image.getpixel((0, 0))
