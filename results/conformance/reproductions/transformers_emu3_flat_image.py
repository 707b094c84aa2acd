"""transformers 5.23.0: Emu3's processor takes an image three pixels high for one with its channels first."""

from PIL import Image
from transformers import Emu3ImageProcessor
from transformers.models.emu3.image_processing_emu3 import smart_resize

processor = Emu3ImageProcessor()
expected = smart_resize(3, 11, processor.spatial_factor, processor.min_pixels, processor.max_pixels)
made = processor(images=[Image.new("RGB", (11, 3))], return_tensors="pt")
assert made["image_sizes"][0].tolist() == list(expected), (made["image_sizes"][0].tolist(), expected)
