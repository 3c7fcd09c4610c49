"""ComfyUI nodes, one a file: what the editor shows, checks, and the call into ``glv_core``."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import before_run
from .anchor_guidance import AnchorGuidance
from .chunk_key_frames import ChunkKeyFrames
from .co_denoise_ksampler import CoDenoiseKSampler
from .co_denoise_model import CoDenoiseModel
from .co_denoise_phase import CoDenoisePhase
from .composite_edit import CompositeEdit
from .control_preprocess import ControlPreprocess
from .cross_frame_attention import CrossFrameAttention
from .depth_concat import DepthConcat
from .encode_long_video import EncodeLongVideo
from .gen_l_video_preset import GenLVideoPreset
from .grounded_mask import GroundedMask
from .i2vgen_xl_conditioning import I2VGenXLConditioning
from .invert_long_latent import InvertLongLatent
from .load_follow_your_pose import LoadFollowYourPose
from .load_i2vgen_xl import LoadI2VGenXL
from .load_long_video import LoadLongVideo
from .load_ms_vid2vid import LoadMSVid2Vid
from .load_streaming_svd import LoadStreamingSVD
from .load_streamingt2v import LoadStreamingT2V
from .load_tuning import LoadTuning
from .load_video_pipeline import LoadVideoPipeline
from .long_inpaint_conditioning import LongInpaintConditioning
from .long_latent import LongLatent
from .long_noise import LongNoise
from .long_vace_conditioning import LongVaceConditioning
from .ms_vid2vid_sigmas import MSVid2VidSigmas
from .multi_prompt_schedule import MultiPromptSchedule
from .ranges import within_ranges
from .refine_long_video import RefineLongVideo
from .routes import register
from .sam_id_map import SamIdMap
from .save_long_video import SaveLongVideo
from .streaming_extend import StreamingExtend
from .tune_on_video import TuneOnVideo
from .tuning_preset import TuningPreset
from .vae_decode_loop import VAEDecodeLoop
from .window_plan import WindowPlan

NODES = [
    within_ranges(node)
    for node in (
        LongLatent, MultiPromptSchedule, CoDenoiseKSampler, CoDenoiseModel, CoDenoisePhase, WindowPlan,
        LongNoise, InvertLongLatent, VAEDecodeLoop, StreamingExtend, LoadLongVideo, EncodeLongVideo,
        SaveLongVideo, LoadVideoPipeline, GroundedMask, SamIdMap, ControlPreprocess, GenLVideoPreset, TuningPreset,
        CrossFrameAttention, LoadFollowYourPose, CompositeEdit, LongVaceConditioning, DepthConcat,
        LongInpaintConditioning, RefineLongVideo, LoadMSVid2Vid, MSVid2VidSigmas,
        LoadStreamingT2V, AnchorGuidance, LoadStreamingSVD, LoadI2VGenXL, I2VGenXLConditioning,
        ChunkKeyFrames, TuneOnVideo, LoadTuning,
    )
]  # fmt: skip


class LongVideoExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register()
        before_run.install({node.__name__ for node in NODES})
        return [*NODES]
