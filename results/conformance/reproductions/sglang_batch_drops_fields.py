"""SGLang 0.5.23: in a batch, use_audio_in_video and video_config are lost (GenerateReqInput.__getitem__)."""

from sglang.srt.managers.io_struct import GenerateReqInput

batch = GenerateReqInput(input_ids=[[1], [2]], use_audio_in_video=True, video_config={"fps": 4})
batch.normalize_batch_and_arguments()
got = batch[0].use_audio_in_video, batch[0].video_config
assert got == (True, {"fps": 4}), got
