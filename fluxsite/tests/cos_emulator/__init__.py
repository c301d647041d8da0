"""A stand-in for one bucket of Tencent COS: a real HTTP server that checks signatures.

    with CosEmulator() as cos:
        storage = COSStorage(**cos.options())
        cos.add_fault("drop", method="PUT", times=1)
        ...cos.requests, cos.objects()...

It needs nothing but the standard library and knows nothing of Fluxsite. The vendor's own SDK
works with it unchanged; test_cos_emulator.py holds it to that. `faults.py` lists what can go
wrong, `server.py` the same controls over HTTP for an emulator in another process:

    python -m fluxsite.tests.cos_emulator --port 8091
"""

from fluxsite.tests.cos_emulator.server import CosEmulator

__all__ = ["CosEmulator"]
