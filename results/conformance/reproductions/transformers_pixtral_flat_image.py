"""transformers 5.23.0: Pixtral counts an image one pixel high as if it stood on its end."""

from tokenizers import Tokenizer, models
from transformers import PixtralImageProcessor, PixtralProcessor, PreTrainedTokenizerFast

words = ["[IMG]", "[IMG_BREAK]", "[IMG_END]", "<unk>"]
backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
backend.add_special_tokens(words)
processor = PixtralProcessor(
    PixtralImageProcessor(), PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
)
counted = processor._get_num_multimodal_tokens(image_sizes=[(1, 17)]).num_image_tokens[0]
high, wide = processor._get_num_multimodal_tokens(image_sizes=[(2, 17)]).num_image_tokens[0], 3
assert counted == high == wide, f"17x1 counts {counted}, 17x2 counts {high}: one row of two patches and its end"
