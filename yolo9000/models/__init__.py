"""Networks: backbones, heads, the detector (images to `GridOutput`) and the classifier."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    backbone="Backbone ConvBackbone ConvUnit freeze",
    batch_norm="running_statistics set_training synchronised",
    boxes="aligned_iou area_xyxy clip_xyxy cxcywh_to_xyxy iou_xyxy scale_xyxy shape_iou xyxy_to_cxcywh",
    classifier="Classifier FlatSoftmax build_classifier label_loss",
    darknet_network="DarknetNetwork refuse_tree_of_other_size",
    detector="Detector Features PassthroughNeck UpsamplingNeck build_detector",
    folding="fold_batch_norm fold_detector",
    grid="GridOutput Locations cells_in_regions decode_boxes member_logits",
    grouped_softmax="GroupedSoftmax",
    head="ClassHead",
    roi_head="RoiHead RoiOutput mean_class_logits mean_objectness pooled",
    timm_backbone="TimmBackbone imagenet_classes pretrained_timm_weights timm_classifier",
    tree_tensors="Descent PathMembers TreeTensors counts log_complement segment_log_softmax",
)
