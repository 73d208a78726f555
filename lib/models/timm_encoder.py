"""Encoders of timm: any plain ViT by its name, over search region and templates together.

MODEL.ENCODER.TYPE `timm/vit_small_patch14_reg4_dinov2` is one. Patch embedding, blocks (with
LayerScale, norms of queries and keys, SwiGLU) and norms are timm's own modules, under its names.
Class and register tokens stand once before the tokens of search region and templates, and all
attend to all. Absolute positions of the images of pre-training are resampled to search region
and template; rotary ones are computed for the grid of each.

MODEL.ENCODER.CAUSAL_TEMPLATES: search region and templates have class and register tokens of
their own, as images in pre-training had, and no template attends to anything but itself
(`lib.models.causal`); what a template's class and register tokens gather stays with it.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.config.schema import Config
from lib.models.blocks import bias_of_keys
from lib.models.causal import attend_to_templates, can_be_causal, template_context
from lib.models.encoder import TemplateFeatures
from lib.models.exporting import exporting
from lib.models.extras import TemplateBox
from lib.models.weights import state_differences
from lib.utils.checkpoint import read_state_dict
from lib.utils.errors import CheckpointError, ConfigError, did_you_mean

_TYPE = "MODEL.ENCODER.TYPE timm/{}"
# timm's other architectures need more than tokens, positions and a mask.
_PLAIN = (VisionTransformer, Eva)
# What only the task of pre-training has: the classifier.
_HEAD = ("head.", "head_dist.")


def build_encoder(cfg: Config) -> "TimmEncoder":
    """The encoder that a configuration names, with random weights.

    Raises:
        ConfigError: timm has no such plain ViT, or its weights are for other DATA.MEAN or STD.
    """
    encoder = cfg.model.encoder
    name = encoder.type.partition("/")[2]
    sizes = {
        "embed_dim": encoder.width,
        "depth": encoder.depth,
        "num_heads": encoder.heads,
        "patch_size": encoder.patch_size,
        "drop_path_rate": encoder.drop_path,
    }
    given = {key: value for key, value in sizes.items() if value is not None}
    # Tables and buffers are in no file: they must hold numbers even in a network that is built on
    # the meta device to take its weights from one.
    with torch.device("cpu"):
        made = TimmEncoder(
            functools.partial(create_model, name, **given),
            search_size=cfg.data.search.size,
            template_size=cfg.data.template.size,
            use_checkpoint=encoder.use_checkpoint,
            type_embedding=encoder.type_embedding,
            template_box=cfg.model.template_box,
            causal=encoder.causal_templates,
        )
    if made.causal and not can_be_causal(made.blocks):
        raise ConfigError(
            f"MODEL.ENCODER.CAUSAL_TEMPLATES cannot be had with {encoder.type}: its blocks are not "
            "timm's plain ones (those of DINOv2 and DeiT are); leave it out"
        )
    if encoder.pretrain_type != "scratch":
        for key, value in (("mean", cfg.data.mean), ("std", cfg.data.std)):
            own = tuple(getattr(timm.get_pretrained_cfg(name), key, value))
            if value != own:
                raise ConfigError(
                    f"DATA.{key.upper()} is {list(value)}, and the weights of {encoder.type} were "
                    f"trained with another one; write DATA.{key.upper()}: {list(own)}"
                )
    return made


def create_model(name: str, **changes: object) -> VisionTransformer | Eva:
    """timm's network of that name with random weights and without a classifier.

    Raises:
        ConfigError: there is none, or it is no plain ViT.
    """
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise ConfigError(f"{_TYPE.format(name)}: timm {timm.__version__} has no such model{hint}")
    refusal = f"{_TYPE.format(name)}: cannot be used, only plain vision transformers can"
    try:
        made = timm.create_model(name, dynamic_img_size=True, **{"num_classes": 0, **changes})
    except (TypeError, RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{refusal} ({reason})") from None
    if type(made) not in _PLAIN or type(made.patch_embed) is not PatchEmbed:
        raise ConfigError(f"{refusal} (it is a {type(made).__name__})")
    return made


def pretrained_url(name: str) -> str | None:
    """Where timm's weights of a name are published; None: nowhere."""
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is None or not known.hf_hub_id:
        return None
    return f"https://huggingface.co/{known.hf_hub_id}/resolve/main/model.safetensors"


class TimmEncoder(nn.Module):
    """See the module, and `lib.models.encoder.JointEncoder` for the methods.

    Args:
        make: makes the network of timm.
        search_size: side of the search crop in pixels.
        template_size: side of the template crops in pixels.
        use_checkpoint: recompute every block in the backward pass to save memory.
        type_embedding: add a vector to the tokens of the search region and one to those of
            templates (LoRAT, Lin et al., ECCV 2024).
        template_box: tell template tokens where the target is (`TemplateBox`).
        causal: templates attend to themselves only; see the module.

    What is added to the tokens starts at 0: the first step sees what was pre-trained.

    Attributes:
        prefix: `(1, P, C)` class and register tokens with their positions, or None.
        pos_embed: `(1, L_x + L_z, C)` rows of the search region, then of all templates. With
            rotary positions only: one vector for each of the two, which tells them apart.
        type_embed: `(1, 2, C)` of the search region and of templates, or None.
        row_group: with causal templates, see `lib.models.causal.attend_to_templates`.
    """

    row_group = 1

    embedding = ("patch_embed", "pos_embed", "prefix", "norm_pre", "rope")

    def __init__(
        self,
        make: Callable[[], VisionTransformer | Eva],
        *,
        search_size: int,
        template_size: int,
        use_checkpoint: bool = False,
        type_embedding: bool = False,
        template_box: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        model = make()
        self.make, self.use_checkpoint, self.causal = make, use_checkpoint, causal
        self.width = model.embed_dim
        patch = model.patch_embed.patch_size[0]
        self.sides = [search_size // patch, template_size // patch]
        self.search_tokens, self.template_tokens = (side * side for side in self.sides)
        self.patch_embed, self.norm_pre = model.patch_embed, model.norm_pre
        self.blocks = nn.ModuleList(model.blocks)
        # Where the mean of all tokens was classified, the norm came after it.
        self.norm = model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm
        prefix, positions = _tables(model, self.sides)
        self.prefix = nn.Parameter(prefix) if prefix.shape[1] else None
        self.pos_embed = nn.Parameter(positions)
        self.type_embed = nn.Parameter(torch.zeros(1, 2, self.width)) if type_embedding else None
        self.template_box = TemplateBox(self.width, self.sides[1]) if template_box else None
        if self.template_box is not None:
            nn.init.zeros_(self.template_box.proj.weight)
            nn.init.zeros_(self.template_box.proj.bias)
        self.absolute = model.pos_embed is not None
        rope = getattr(model, "rope", None)
        # Learnt frequencies, of every block its own, stay a module; others are a constant.
        self.rope = rope if getattr(model, "rope_mixed", False) else None
        fixed = None if rope is None or self.rope is not None else self._rotation(rope.eval())
        self.register_buffer("rotation", fixed, persistent=False)

    def _rotation(self, rope: nn.Module) -> Tensor:
        """Sines and cosines `([blocks, heads,] L_x + L_z, 2 * head width)` of both grids."""
        return torch.cat([rope.get_embed(shape=[side, side]) for side in self.sides], dim=-2)

    def load_pretrained(self, path: Path | str) -> None:
        """See `JointEncoder`; the file is timm's, or the one that timm converts."""
        model, state = self.make(), dict(read_state_dict(path))
        convert = sys.modules[type(model).__module__].checkpoint_filter_fn
        if "deit3" in model.pretrained_cfg.get("architecture", ""):
            convert = functools.partial(convert, adapt_layer_scale=True)
        try:
            converted = convert(state, model)
        except (
            KeyError,
            TypeError,
            RuntimeError,
            ValueError,
            AttributeError,
            AssertionError,
        ) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(f"{path}: timm cannot read it ({reason})") from None
        found = {key: x for key, x in converted.items() if not key.startswith(_HEAD)}
        if differences := state_differences(model.state_dict(), found):
            raise CheckpointError(
                f"{path} does not fit the encoder: {'; '.join(differences)}; "
                "check MODEL.ENCODER.TYPE"
            )
        model.load_state_dict(found)
        sizes = [side * model.patch_embed.patch_size[0] for side in self.sides]
        made = TimmEncoder(lambda: model, search_size=sizes[0], template_size=sizes[1])
        loaded = made.state_dict()
        if not self.absolute:
            del loaded["pos_embed"]  # no file has it
        self.load_state_dict(loaded, strict=False)

    def embed_templates(self, images: Tensor, boxes: Tensor | None = None) -> TemplateFeatures:
        """See `JointEncoder`.

        Raises:
            ValueError: the network needs the boxes, and there are none.
        """
        tokens = self._embedded(images, 1)
        if self.template_box is None:
            boxes = None
        elif boxes is None:
            raise ValueError("this network needs template_boxes: MODEL.TEMPLATE_BOX is on")
        else:
            tokens = tokens + self.template_box(boxes)
        tokens = self.norm_pre(tokens)
        if self.causal:
            tokens, before = self._with_prefix(tokens)
            tokens = template_context(self.blocks, tokens, before)
        return TemplateFeatures(tokens, boxes)

    def embed_search(
        self, images: Tensor, templates: TemplateFeatures, key_bias: Tensor | None = None
    ) -> Tensor:
        """See `JointEncoder`."""
        return self.norm_pre(self._embedded(images, 0))

    def _embedded(self, images: Tensor, kind: int) -> Tensor:
        """Patches with their positions, of search regions (kind 0) or templates (1)."""
        rows = self.pos_embed.split([self.search_tokens, self.template_tokens], dim=1)[kind]
        tokens = self.patch_embed(images).flatten(1, 2) + rows
        return tokens if self.type_embed is None else tokens + self.type_embed[:, kind]

    def _with_prefix(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Class and register tokens before tokens `(B, N, C)`, and how many there are."""
        if self.prefix is None:
            return tokens, 0
        prefix = self.norm_pre(self.prefix).expand(tokens.shape[0], -1, -1)
        return torch.cat([prefix, tokens], dim=1), prefix.shape[1]

    def forward(
        self,
        search: Tensor,
        templates: Tensor,
        key_bias: Tensor | None = None,
        search_only: bool = False,
    ) -> Tensor:
        """See `JointEncoder`."""
        if self.causal:
            return self._causal_forward(search, templates, key_bias)
        x, before = self._with_prefix(torch.cat([search, templates.flatten(1, 2)], dim=1))
        shared: dict[str, Tensor] = {}
        if key_bias is not None:
            bias = bias_of_keys(key_bias, before + self.search_tokens, self.template_tokens)
            if exporting():
                # ONNX Runtime wants a row for each query.
                bias = bias.expand(-1, -1, x.shape[1], -1)
            shared["attn_mask"] = bias.to(self._attention_dtype(x))
        rotation = self._joint_rotation(templates.shape[1])
        for i, block in enumerate(self.blocks):
            inputs = dict(shared)
            if rotation is not None:
                inputs["rope"] = rotation if self.rope is None else rotation[i]
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, use_reentrant=False, **inputs)
            else:
                x = block(x, **inputs)
        last = before + self.search_tokens if search_only else None
        return self.norm(x[:, before:last])

    def _causal_forward(self, search: Tensor, templates: Tensor, key_bias: Tensor | None) -> Tensor:
        """As `forward`, which gives the search tokens only, whatever is asked for.

        Args:
            search: `(B, L_x, C)`.
            templates: `(B, D, depth, 2, heads, L_z, C / heads)` of `template_context`.
            key_bias: `(B, D)`, or None.
        """
        x, before = self._with_prefix(search)
        if key_bias is not None:
            key_bias = bias_of_keys(key_bias, x.shape[1], self.template_tokens)
        again = self.use_checkpoint and self.training
        rows = self.row_group
        x = attend_to_templates(self.blocks, x, templates, key_bias, again, rows, before)
        return self.norm(x)

    def _attention_dtype(self, x: Tensor) -> torch.dtype:
        """What queries have: that of the tokens, unless `prepare` chose another one."""
        attention = self.blocks[0].attn
        layer = attention.q_proj if attention.qkv is None else attention.qkv
        return getattr(layer, "dtype", x.dtype)

    def _joint_rotation(self, count: int) -> Tensor | None:
        """The rotation of a search region and `count` templates."""
        both = self.rotation if self.rope is None else self._rotation(self.rope)
        if both is None:
            return None
        search, template = both.split([self.search_tokens, self.template_tokens], dim=-2)
        times = (1,) * (template.ndim - 2)
        return torch.cat([search, template.repeat(*times, count, 1)], dim=-2)


@torch.no_grad()
def _tables(model: VisionTransformer | Eva, sides: list[int]) -> tuple[Tensor, Tensor]:
    """`TimmEncoder.prefix` (P may be 0) and `pos_embed` for grids of those sides."""
    width, table = model.embed_dim, model.pos_embed
    tokens = (x for x in (model.cls_token, getattr(model, "reg_token", None)) if x is not None)
    prefix = torch.cat([torch.zeros(1, 0, width), *tokens], dim=1)
    if table is None:
        kinds = nn.init.trunc_normal_(torch.empty(1, 2, width), std=0.02)
        return prefix, kinds.repeat_interleave(torch.tensor(sides) ** 2, dim=1)
    own = 0 if getattr(model, "no_embed_class", False) else prefix.shape[1]
    prefix = torch.cat([prefix[:, :own] + table[:, :own], prefix[:, own:]], dim=1)
    parts = (
        resample_abs_pos_embed(table[:, own:], [side, side], num_prefix_tokens=0) for side in sides
    )
    return prefix, torch.cat(list(parts), dim=1)
