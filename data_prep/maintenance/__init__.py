"""After the merge: check, repair, relabel."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    check="CheckReport Damage check_shards",
    relabel="Relabelled write_relabelled",
    relabel_settings="change_of exhaustive_override split_override",
)
