"""Operations with fused kernels, one public function each."""

from slotcli.kernels.group_norm_act import group_norm_act
from slotcli.kernels.mask_argmax import mask_argmax
from slotcli.kernels.nearest_code import nearest_code
from slotcli.kernels.slot_cross_attention import absorbing_pays, slot_cross_attention
from slotcli.kernels.slot_read import row_statistics, slot_read

__all__ = [
    "absorbing_pays",
    "group_norm_act",
    "mask_argmax",
    "nearest_code",
    "row_statistics",
    "slot_cross_attention",
    "slot_read",
]
