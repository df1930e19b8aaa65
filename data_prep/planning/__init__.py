"""The deterministic plan of a merge: images, splits, shards, duplicates, cost."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    duplicates=(
        "EqualImages Origins PlannedDuplicates digest_of equal_images find_planned_duplicates may_be_equal"
    ),
    exif="box_frames",
    left_out="Row planned_rows require_own_list write_left_out",
    plan="NothingUsable Plan make_plan",
    selection="has_labels",
    splits="split_names stored_splits",
)
