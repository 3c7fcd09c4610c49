"""Whole editing modes on a file, and the most memory that they took. Runs inside ComfyUI."""

import ctypes
import threading

import editing
from video_files import execute, load
from vision import anonymous_memory

WINDOWS = {**editing.WINDOWS, "windows_per_forward": 1}  # or their number grows with the video, up to a limit
SAMPLER = {"seed": 0, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}


TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # of mallopt


class Peak:
    """Most memory of this process that belongs to no file, MB, beyond what it had before.

    What is freed goes back to the system at once: by default the C library keeps more of it the more threads there
    are and the larger what was freed before, which differs from run to run by a hundred MB.
    """

    def __enter__(self):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, 2**20), (TRIM_THRESHOLD, 2**22)):
            libc.mallopt(option, value)
        libc.malloc_trim(0)
        self.before, self.most, self._end = anonymous_memory(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._end.wait(0.005):
            self.most = max(self.most, anonymous_memory() - self.before)

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def run(path: str, mode: str) -> dict:
    """One mode from a file to a file; see ``MODES``. Results that may be large lie in files, also these small ones."""
    from long_video_pack.glv_core.hosts.comfy.video import memory_mapped

    memory_mapped.MAPPED_FROM = 0
    model, clip, vae = editing.pipeline(vace=mode != "inversion")
    positive, negative = (
        [[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in ("a blue circle on a white background", "")
    )
    with Peak() as peak:
        made = MODES[mode](path, model, vae, positive, negative, clip)
    return {"memory": peak.most, "frames": made.get_frame_count()}


def _save(**what):
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    return execute(SaveLongVideo, filename_prefix="edited", crf=40, **what).args[0]


def _sampled(model, vae, positive, negative, latent, **more):
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    return execute(
        CoDenoiseKSampler, model=model, positive=positive, negative=negative, latent_image=latent,
        **SAMPLER, **WINDOWS, **more,
    ).args[0]  # fmt: skip


def _inversion(path, model, vae, positive, negative, _clip):
    from long_video_pack.nodes.encode_long_video import EncodeLongVideo
    from long_video_pack.nodes.invert_long_latent import InvertLongLatent

    latent = execute(EncodeLongVideo, video=load(path)[0], vae=vae).args[0]
    noise, latent, start = execute(
        InvertLongLatent, model=model, positive=positive, latent_image=latent, steps=SAMPLER["steps"], refinements=1,
        **WINDOWS,
    ).args  # fmt: skip
    made = _sampled(model, vae, positive, negative, latent, initial_noise=noise, start_at_step=start)
    return _save(samples=made, vae=vae, fps=16)


def _mix(path, model, vae, _positive, negative, clip):
    from long_video_pack.nodes.control_preprocess import ControlPreprocess
    from long_video_pack.nodes.long_vace_conditioning import LongVaceConditioning
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    length = load(path)[1]
    texts = (f"{start}: a {colour} circle on a white background" for start, colour in ((0, "red"), (40, "green")))
    positive = execute(MultiPromptSchedule, clip=clip, prompts="\n".join(texts), length=length, fps=16).args[0]
    kind = {"kind": "canny", "low_threshold": 100, "high_threshold": 200}
    hint = execute(ControlPreprocess, images=load(path)[0], kind=kind, short_side=editing.SIZE, multiple=8).args[0]
    positive, negative, latent = execute(
        LongVaceConditioning, positive=positive, negative=negative, vae=vae, width=editing.SIZE, height=editing.SIZE,
        control_video=hint,
    ).args[:3]  # fmt: skip
    return _save(samples=_sampled(model, vae, positive, negative, latent), vae=vae, fps=16)


def _edit(path, model, vae, positive, negative, _clip):
    from long_video_pack.glv_core.hosts.comfy.vision.grounding_models import DEMO_DETECTOR
    from long_video_pack.nodes.composite_edit import CompositeEdit
    from long_video_pack.nodes.grounded_mask import GroundedMask
    from long_video_pack.nodes.long_vace_conditioning import LongVaceConditioning

    source = load(path)[0]
    mask = execute(GroundedMask, images=source, text="object", detector=DEMO_DETECTOR, segmenter="", grow=3).args[0]
    positive, negative, latent = execute(
        LongVaceConditioning, positive=positive, negative=negative, vae=vae, width=editing.SIZE, height=editing.SIZE,
        control_video=source, control_masks=mask, fill_masked=True,
    ).args[:3]  # fmt: skip
    made = _sampled(model, vae, positive, negative, latent)
    edited = _save(samples=made, vae=vae, fps=16)
    return _save(video=execute(CompositeEdit, original=source, edited=edited, mask=mask).args[0])


MODES = {"inversion": _inversion, "mix": _mix, "edit": _edit}
