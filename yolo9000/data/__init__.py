"""From shards and image files to `Batch`."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    batch="Batch BoxColumns IgnoreColumns ImageLabelColumns Targets",
    classifier_data="ClassifierBatch ClassifierData ClassifierTestData labelled_images training_nodes",
    detector_data="DetectorData",
    given_image="GivenImage pixels_of",
    image="decode_image letterbox read_image read_stored_image resized_to_fit",
    letterbox="Content Letterbox array_resized_to_fit canvases",
    pixels="UnreadableImage read_pixels upright_pixels",
    object_crops="CropBatch LabelledObjects batch_count labelled_objects object_crops",
    pseudo_boxes="PseudoBoxes",
    sampler="DataMismatch Sampler images_of_split some_of_each_source",
)
