"""LoadFollowYourPose: Follow-Your-Pose's folder to MODEL and CONTROL_NET."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.follow_your_pose import (
    FROM_THE_FOLDER,
    NO_FOLDER,
    list_folders,
    list_pose_encoders,
    load_follow_your_pose,
)
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY


class LoadFollowYourPose(io.ComfyNode):
    """Loads a Stable Diffusion 1 with layers over time, and the network that reads its skeletons."""

    FILES: ClassVar = {
        "folder": "Put FollowYourPose_v1 of YueMafighting, from Hugging Face, into models/diffusers.",
        "pose_encoder": "Put pose_encoder.pth of FollowYourPose_v1 into models/controlnet, or choose another.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadFollowYourPose",
            display_name="Load Follow-Your-Pose",
            category=f"{CATEGORY}/loaders",
            description="Loads Follow-Your-Pose, a text-to-video model that follows a skeleton video: Stable Diffusion "
            "1.4 with layers over time, and its pose encoder. CLIP and VAE come from any Stable Diffusion 1 "
            "checkpoint. Sample it with CoDenoiseKSampler in windows of 16 frames, overlap 12.",
            search_aliases=["follow your pose", "pose to video", "skeleton video", "fyp"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=list_folders(),
                    tooltip="A folder below models/diffusers that holds Follow-Your-Pose's UNet, or has it in a folder "
                    "'unet'. In FollowYourPose_v1 that is followyourpose_checkpoint-1000.",
                ),
                io.Combo.Input(
                    "pose_encoder",
                    options=list_pose_encoders(),
                    default=FROM_THE_FOLDER,
                    optional=True,
                    tooltip="The file of the pose encoder: pose_encoder.pth beside the UNet or in a folder above it, "
                    "or else the one in the UNet's own file; or a file of models/controlnet.",
                ),
                io.Boolean.Input(
                    "pooled_norm",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="On: the residual blocks normalise all frames of a window together, as the model was "
                    "trained. Off: every frame alone, as in Stable Diffusion.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The diffusion model; its frames are the batch."),
                io.ControlNet.Output(
                    display_name="pose_control",
                    tooltip="For Apply ControlNet, with a picture of the skeleton for every frame of the video.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, pose_encoder: str | None = None) -> bool | Wrong:
        return True if folder != NO_FOLDER else Wrong({"folder": f"folder is {folder!r}. {cls.FILES['folder']}"})

    @classmethod
    def execute(cls, folder: str, pose_encoder: str = FROM_THE_FOLDER, pooled_norm: bool = True) -> io.NodeOutput:
        with naming("LoadFollowYourPose"):
            return io.NodeOutput(*load_follow_your_pose(folder, pose_encoder, pooled_norm))
