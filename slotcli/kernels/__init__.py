"""Operations worth a kernel of their own, by one public name each."""

from slotcli.kernels.reference import mask_argmax, nearest_code, slot_read

__all__ = ["mask_argmax", "nearest_code", "slot_read"]
