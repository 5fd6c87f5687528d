"""The memories, one file a paper. Importing this package registers every `MemoryConfig`."""

from rrg_lib.models.memory.base import CrossModalMemory, MemoryConfig, Response, Slots
from rrg_lib.models.memory.cmn import CMNConfig

__all__ = ["CMNConfig", "CrossModalMemory", "MemoryConfig", "Response", "Slots"]
