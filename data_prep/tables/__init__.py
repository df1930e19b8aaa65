"""Output of the commands: tables, charts, JSON."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    anchor_tables="AnchorResult anchors_json print_anchors",
    charts="Series histogram_svg line_chart sweep_svg",
    check_tables="check_json print_check summary",
    dataset_tables="index_json print_info print_merge",
    histograms="histograms_of",
    plan_tables="plan_json print_plan",
    relabel_tables="print_relabelled print_review relabel_json",
)
