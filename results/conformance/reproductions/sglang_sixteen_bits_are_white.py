"""SGLang 0.5.23: a 16-bit gray PNG (scans, X-rays) is clipped at 255 of 65535: everything not black is white."""

import io

from PIL import Image
from sglang.srt.managers.schedule_batch import Modality
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

file = io.BytesIO()
Image.new("I;16", (2, 2), 77 * 257).save(file, "PNG")
image = BaseMultimodalProcessor._load_single_item(file.getvalue(), Modality.IMAGE)
assert image.getpixel((0, 0)) == (77, 77, 77), image.getpixel((0, 0))
