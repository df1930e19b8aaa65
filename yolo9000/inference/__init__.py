"""From the network's raw `GridOutput` to `Detections`."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    darknet_results="write_results",
    detections="Detections coco_categories",
    draw="Colour Mark branch_colours draw_detections draw_marks save_png to_pillow without_leading_zero",
    node_scores="boxes_of_highest_objectness score_nodes",
    onnx_predict="OnnxPredictor",
    postprocess="detect",
    predict="AnyPredictor Predictor",
    scored_boxes="GroundTruth ScoredBoxes check_same_images",
    sources="FoundImages ImageItem ImageLike NoImages find_images",
    stream="Fitted Predicted",
    top_locations="BatchOutput boxes_to_image top_locations",
    vocabulary="Vocabulary VocabularyChoice",
)
