"""The execution of a plan: worker processes, progress, resuming after an interruption."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    merge="execute_plan write_label_map_copy",
    workers="begin_worker end_with_parent",
)
