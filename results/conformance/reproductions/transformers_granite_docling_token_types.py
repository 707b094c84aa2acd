"""transformers 5.23.0: GraniteDocling counts more tokens for an image than its token types mark as the image's."""

from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GraniteDoclingImageProcessor, GraniteDoclingProcessor, PreTrainedTokenizerFast

alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
backend.add_special_tokens(["<image>", "<fake_token_around_image>", "<global-img>", *tiles])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<image>")
processor = GraniteDoclingProcessor(GraniteDoclingImageProcessor(), tokenizer)
counted = processor._get_num_multimodal_tokens(image_sizes=[(20, 20)]).num_image_tokens[0]
run = processor(images=[Image.new("RGB", (20, 20))], text=["<image>"], return_mm_token_type_ids=True)
marked = sum(kind == 1 for kind in run["mm_token_type_ids"][0])
assert counted == marked, (counted, marked)
