"""The memories, one file a paper. Importing this package registers every `MemoryConfig`."""

from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig
from rrg_lib.models.memory.cmn import CMNConfig
from rrg_lib.models.memory.mcsam import MCSAMConfig
from rrg_lib.models.memory.xpronet import XProNetConfig

__all__ = ["CMNConfig", "CrossModalMemory", "MCSAMConfig", "MemoryConfig", "XProNetConfig"]
