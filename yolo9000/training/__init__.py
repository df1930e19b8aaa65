"""The training loop and the state of a run."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    dry_run="check_run",
    optim="build_optimizer",
    pretrain="ClassifierTask",
    resume="flat_settings refuse_sizes_off_grid",
    run="with_settings",
    run_report="ReportText",
    train="DetectorTask",
)
