"""Tencent COS as a Django storage.

Importing this costs nothing to speak of: the vendor's SDK, slow to import, is only reached
when a storage makes its first call.
"""

from fluxsite.cos.errors import CosError
from fluxsite.cos.storage import COSStorage

__all__ = ["COSStorage", "CosError"]
