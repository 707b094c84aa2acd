"""SGLang 0.5.23: a photograph's EXIF orientation is not applied; the model sees it lying on its side."""

import io

from PIL import Image
from sglang.srt.managers.schedule_batch import Modality
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

exif, file = Image.Exif(), io.BytesIO()
exif[0x0112] = 6  # to be turned by a quarter
Image.new("RGB", (40, 20)).save(file, "JPEG", exif=exif)
image = BaseMultimodalProcessor._load_single_item(file.getvalue(), Modality.IMAGE)
assert image.size == (20, 40), image.size
