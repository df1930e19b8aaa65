"""Runs over many images that can be stopped and resumed: formats of results, store, queries, report page."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    query_output="QueryOutput print_query write_matches",
    identity="run_identity",
    result_log="ResultLog ResultsError result_records",
    printing="PrintedResults",
    run="OutputChoice Summary predict_images",
    store="ResultStore StoreWriter is_store remove_store",
)
